"""Carries out what `witness.py` says: asks the ConfigMap while a node is blank, and keeps it right afterwards.

A blank node is told at once what it may found, and every few seconds what is shown. Where the witness is heeded and not
the one to decide, an API that says no, or says nothing for long, keeps nobody from being born. Afterwards it costs a
leader one read a minute and one write an election; nothing in Raft waits for any of it.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from raftq_k8s.kube.client import ApiClient, ApiError, Conflict, NotFound, Refused
from raftq_k8s.kube.label import Workload
from raftq_k8s.kube.witness import (
    Belongs,
    Blank,
    Join,
    Report,
    Tell,
    Write,
    afterwards,
    before_birth,
    merge_patch,
    shown,
)
from raftq_k8s.raft.birth import BirthRule, Doubtful, Testimony, Vacant
from raftq_k8s.raft.membership import BirthRecord
from raftq_k8s.raft.types import NO_TERM, ClusterId, Term

log = logging.getLogger(__name__)

_ROUNDS: Final = 10
"""How often it decides before it rests: twice, and once more for every write of somebody else in between."""


class Node(Protocol):
    """What the witness needs of a running node."""

    def birth(self) -> BirthRecord | None: ...

    def wish(self) -> BirthRecord | None: ...

    def recovered_from(self) -> ClusterId | None:
        """Of which cluster a person made this node's own, where that is noted here."""

    def leads(self) -> Term | None:
        """The term in which, by the clock of this moment, a quorum stands behind this node's leadership."""

    def is_silent(self) -> bool:
        """Nobody led for so long that a quorum may be taken for lost."""

    def witnessed(self, testimony: Testimony) -> None: ...


class Times(msgspec.Struct, frozen=True):
    """In seconds."""

    poll: float = 0.2
    """So often the node is asked whether anything changed."""
    settle: float = 2.0
    """So long a majority waits for the rest of the expected, to be born together."""
    look: float = 2.0
    """So often the API is asked while nothing is born."""
    patience: float = 10.0
    """An API that does not answer for so long is gone on without, where it is only heeded."""
    check: float = 60.0
    retry: float = 1.0
    """After an API that did not do what it was asked; doubled each time, up to `check`."""


class WitnessKeeper:
    """`join` is called where the node's own cluster was given up for another."""

    def __init__(
        self,
        client: ApiClient,
        node: Node,
        rule: BirthRule,
        workload: Workload,
        join: Callable[[ClusterId], None],
        *,
        times: Times = Times(),  # noqa: B008 (it is frozen)
    ) -> None:
        self._client = client
        self._node = node
        self._rule = rule
        self._workload = workload
        self._name = f"{workload.statefulset}-birth"
        self._join = join
        self._times = times
        self._silent_since: float | None = None
        self._complaint: str | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        await self._see_to_the_birth()
        await self._remember()

    # ------------------------------------------------------------------------------------------------ before the birth

    async def _see_to_the_birth(self) -> None:
        asked: BirthRecord | None = None
        wished_at = look_at = _now()
        while self._node.birth() is None:
            wish = self._node.wish()
            if wish is None:
                wished_at = _now()
            elif not self._is_whole(wish) and _now() < wished_at + self._times.settle:
                wish = None
            if _now() >= look_at or wish not in (None, asked):
                self._node.witnessed(await self._testimony(wish))
                asked, look_at = wish, _now() + self._times.look
            await asyncio.sleep(self._times.poll)

    def _is_whole(self, wish: BirthRecord) -> bool:
        return len(wish.members) == len(self._rule.expected)

    async def _testimony(self, wish: BirthRecord | None) -> Testimony:
        try:
            testimony = await self._settled(wish if self._rule.witness == "decides" else None)
        except ApiError as error:
            return await self._without(error)
        self._silent_since = None
        self._content()
        return testimony

    async def _settled(self, wish: BirthRecord | None) -> Testimony:
        for _ in range(_ROUNDS):
            witness = shown(await self._client.get_config_map(self._name))
            highest = await self._highest_term() if witness.birth is None else NO_TERM
            match before_birth(witness, Blank(wish, highest)):
                case Tell(testimony):
                    return testimony
                case Write() as write:
                    await self._write(write)
        return Doubtful(f"the ConfigMap {self._name} is written by somebody else all the time")

    async def _highest_term(self) -> Term:
        """Of the marks on the pods, where they may be read."""
        try:
            pods = await self._client.list_pods(self._workload.selector)
        except Refused:
            return NO_TERM
        return max((pod.mark.term for pod in map(self._workload.pod, pods) if pod.ours), default=NO_TERM)

    async def _without(self, error: ApiError) -> Testimony:
        if self._rule.witness == "decides":
            reason = f"nothing is born while the ConfigMap {self._name} does not decide: {error}"
            self._complain(reason)
            return Doubtful(reason)
        if self._silent_since is None:
            self._silent_since = _now()
        if isinstance(error, NotFound | Refused):
            self._complain(f"the birth goes on without the ConfigMap {self._name}: {error}")
            with contextlib.suppress(ApiError):
                return Vacant(await self._highest_term())
            return Vacant()
        if _now() >= self._silent_since + self._times.patience:
            self._complain(f"the birth goes on without the ConfigMap {self._name}: {error}")
            return Vacant()
        return Doubtful(f"waiting {self._times.patience:g} s at most for the ConfigMap {self._name}: {error}")

    # -------------------------------------------------------------------------------------------------------- after it

    async def _remember(self) -> None:
        last: Belongs | None = None
        look_at, failures = _now(), 0
        while True:
            node = self._belongs()
            concerned = node.leads is not None or node.recovered_from is not None or node.silent
            if concerned and (node != last or _now() >= look_at):
                last, pause = node, self._times.check
                try:
                    await self._settle(node)
                    failures = 0
                except ApiError as error:
                    failures += 1
                    pause = min(pause, self._times.retry * 2.0 ** min(failures - 1, 16))
                    self._complain(f"the ConfigMap {self._name} is not kept: {error}")
                look_at = _now() + pause
            await asyncio.sleep(self._times.poll)

    def _belongs(self) -> Belongs:
        birth = self._node.birth()
        assert birth is not None  # what is on the volume stays there
        return Belongs(birth, self._node.leads(), self._node.recovered_from(), self._node.is_silent())

    async def _settle(self, node: Belongs) -> None:
        for _ in range(_ROUNDS):
            match afterwards(shown(await self._client.get_config_map(self._name)), node):
                case Write() as write:
                    if self._belongs() != node:
                        return  # and is looked at anew
                    await self._write(write)
                case Join(cluster):
                    self._join(cluster)
                    return
                case Report(sentence):
                    self._complain(sentence)
                    return
                case _:
                    self._content()
                    return

    async def _write(self, write: Write) -> None:
        with contextlib.suppress(Conflict):
            await self._client.patch_config_map(self._name, merge_patch(write))
            log.info("the ConfigMap %s names cluster %s, term %d", self._name, write.birth.cluster, write.term)

    def _complain(self, complaint: str) -> None:
        """Once for each trouble, not for each try."""
        if complaint != self._complaint:
            self._complaint = complaint
            log.warning("%s", complaint)

    def _content(self) -> None:
        if self._complaint is not None:
            self._complaint = None
            log.info("the ConfigMap %s is as it should be", self._name)


def _now() -> float:
    """In seconds."""
    return asyncio.get_running_loop().time()
