"""`raftq simulate --replay FILE` where the file is a trace: the life of one driver again, as a list of what happened,
and whether every output was the same."""

import json
import sys
from pathlib import Path

import msgspec
from rich.console import Console

from raftq_k8s.node.replay import Difference, Replay
from raftq_k8s.node.trace import MAGIC, Ending, Recording, TraceUnreadable

_ENDINGS = {
    Ending.STOPPED: "the node stopped",
    Ending.FULL: "the file reached its bound, and the node went on",
    Ending.TORN: "the process died there, or still runs",
}
_LONGEST = 500
"""Characters of an argument that are shown: a command may be long."""


def is_trace(file: Path) -> bool:
    """Raises `OSError`."""
    with file.open("rb") as opened:
        return opened.read(len(MAGIC)) == MAGIC


def replay(file: Path, as_json: bool) -> int:
    console = Console(stderr=as_json)
    try:
        with file.open("rb") as opened:
            recording = Recording(opened)
            again = Replay(recording)
            for happened in again.run():
                _say(console, f"{happened.after_ms / 1000:10.3f} s  call {happened.call:<7} {happened.what}")
    except (OSError, TraceUnreadable) as error:
        print(f"raftq: {file} cannot be replayed: {error}", file=sys.stderr)
        return 2
    if as_json:
        print(json.dumps(_as_json(recording, again)))
    else:
        _tell(recording, again, console)
    return 0 if again.difference is None else 1


def _tell(recording: Recording, again: Replay, console: Console) -> None:
    identity = again.driver.identity
    lasted_s = (again.now - recording.started.now) / 1000
    _say(console, f"{identity.member}, release {recording.started.release}: {again.calls} calls in {lasted_s:.3f} s")
    if again.difference is None:
        _say(console, f"every output is the same; {_ENDINGS[recording.ending]}")
    else:
        for line in _lines(again.difference):
            _say(console, line)


def _lines(difference: Difference) -> list[str]:
    return [
        f"the outputs differ at call {difference.call}, {difference.after_ms / 1000:.3f} s after the start:",
        f"  {difference.door}{_short(difference.arguments)}",
        f"  ends here with {_short(difference.outcome)}",
    ]


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _as_json(recording: Recording, again: Replay) -> dict[str, object]:
    difference = again.difference
    return {
        "member": again.driver.identity.member,
        "release": recording.started.release,
        "calls": again.calls,
        "same": difference is None,
        "difference": None if difference is None else msgspec.to_builtins(difference),
        "ending": recording.ending if difference is None else None,
    }
