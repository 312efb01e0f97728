"""Everything that the API ever showed of the pods' labels, and the one thing that must never be in it.

Pure: `label_watch.py` feeds it from a real watch. The order is the API's own; every state counts, also that of a pod
that is being deleted.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple


class Pod(NamedTuple):
    """One state of a pod, as the API shows it."""

    name: str
    uid: str
    resource_version: str
    role: str | None
    term: str | None
    address: str | None
    node: str | None
    ready: bool
    terminating: bool
    restarts: int

    @classmethod
    def of(cls, shown: Mapping[str, Any], role_label: str = "role") -> "Pod":
        metadata, status = shown["metadata"], shown.get("status", {})
        conditions = {each["type"]: each["status"] for each in status.get("conditions", ())}
        return cls(
            name=metadata["name"],
            uid=metadata["uid"],
            resource_version=metadata["resourceVersion"],
            role=metadata.get("labels", {}).get(role_label),
            term=metadata.get("annotations", {}).get("raftq.io/term"),
            address=status.get("podIP"),
            node=shown["spec"].get("nodeName"),
            ready=conditions.get("Ready") == "True",
            terminating="deletionTimestamp" in metadata,
            restarts=sum(each["restartCount"] for each in status.get("containerStatuses", ())),
        )


class Listed(NamedTuple):
    """All pods at one moment. What happened between the event before and this moment is not known."""

    at: float
    pods: tuple[Pod, ...]


class Changed(NamedTuple):
    at: float
    pod: Pod


class Deleted(NamedTuple):
    at: float
    pod: Pod


Event = Listed | Changed | Deleted
State = Mapping[str, Pod]


def states(history: Sequence[Event]) -> Iterator[tuple[Event, State]]:
    """What existed after each event."""
    state: dict[str, Pod] = {}
    for event in history:
        match event:
            case Listed(_, pods):
                state = {pod.name: pod for pod in pods}
            case Changed(_, pod):
                state = {**state, pod.name: pod}
            case Deleted(_, pod):
                state = {name: each for name, each in state.items() if name != pod.name}
        yield event, state


def leaders(state: State) -> tuple[Pod, ...]:
    return tuple(pod for pod in state.values() if pod.role == "leader")


def two_leaders(history: Sequence[Event]) -> list[str]:
    """A line for each moment at which more than one pod was labelled."""
    return [
        " and ".join(f"{pod.name} (term {pod.term}, resourceVersion {pod.resource_version})" for pod in leaders(state))
        for _, state in states(history)
        if len(leaders(state)) > 1
    ]


def labelled_at(history: Sequence[Event], name: str, after: float) -> float | None:
    """When `name` was first seen with the leader's label, of what was seen after that moment."""
    for event, state in states(history):
        if event.at > after and name in state and state[name].role == "leader":
            return event.at
    return None


def told(history: Sequence[Event]) -> str:
    """For people: who was labelled how, change by change."""
    lines, before = [], None
    for event, state in states(history):
        now = {name: (pod.role, pod.term, pod.terminating) for name, pod in sorted(state.items())}
        if now != before or isinstance(event, Listed):
            words = [
                f"{name}={role or '-'}@{term or '-'}{' (terminating)' if terminating else ''}"
                for name, (role, term, terminating) in now.items()
            ]
            lines.append(f"{event.at:.3f} {type(event).__name__.lower():8} {'  '.join(words) or 'no pods'}")
        before = now
    return "\n".join(lines)
