"""Every command that somebody waits for, from its arrival to its outcome.

A command is *waiting* while nobody is known who could take it, *proposed* once it stands in this node's log as
leader, and *forwarded* while it is on its way to another leader. A proposal is known by index and term, and only what
commits at its index tells its fate: an entry of its own term is itself, one of another term proves that it is lost.
Losing the leadership, or the time of whoever asked, proves nothing. Which leader is asked, and when, is the driver's
business; here stands only who waits for what.
"""

from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import NewType, TypeAlias

import msgspec

from raftq_k8s.node.forwarding import Forward, Forwarded, Outcome, Refused, Unknown
from raftq_k8s.raft.types import Index, Instant, MemberId, Term
from raftq_k8s.state import commands, json_text
from raftq_k8s.state.commands import Applied, DocumentCommand, Noted, SessionClosed, SessionOpened, Transacted

UNDECIDED_LIMIT = 8192
"""Commands that wait, travel or stand in the log uncommitted; beyond it callers are told `Overloaded`."""

OPEN_BYTES_LIMIT = 64 << 20
"""Of the commands that callers here wait for: while nobody leads they are held in memory."""

_TICKETS_REMEMBERED = 4096
"""Of forwarded commands, so that a transport that brings one twice does not make it take effect twice."""

NO_TICKET = -1
"""Below every ticket."""

Token = NewType("Token", int)
"""Names one command of this process, for whoever asked here."""


class Submission(msgspec.Struct, frozen=True, gc=False):
    token: Token
    command: bytes
    deadline: Instant


class Asked(msgspec.Struct, frozen=True, gc=False):
    """A peer forwarded the command, and hears the outcome under its own ticket."""

    peer: MemberId
    ticket: int


Origin: TypeAlias = Token | Asked


class _Proposal(msgspec.Struct, frozen=True, gc=False):
    term: Term
    origin: Origin


class _Travelling(msgspec.Struct, frozen=True, gc=False):
    submission: Submission
    leader: MemberId


class Submissions:
    def __init__(self, me: MemberId, largest_command: int, first_ticket: int) -> None:
        """Tickets of an earlier process of this member must not come again, or a
        late answer to it would be taken for one of ours: the caller starts them somewhere else each time."""
        self._me = me
        self._largest_command = largest_command
        self._last_ticket = first_ticket

        self._open: dict[Token, Submission] = {}
        self._open_bytes = 0
        self._deadlines: list[tuple[Instant, Token]] = []
        self._waiting: dict[Token, Submission] = {}
        self._met: dict[Asked, None] = {}
        self._forgotten: dict[MemberId, int] = {}
        """Of each peer's process, the highest ticket that is not remembered any more."""
        self._arrived: deque[tuple[Asked, bytes]] = deque()
        self._proposed: dict[Index, tuple[_Proposal, ...]] = {}
        """Those that somebody waits for: what a deposed leader proposed may stand beyond the end of every log."""
        self._place_of: dict[Origin, Index] = {}
        self._forwarded: dict[int, _Travelling] = {}
        self._ticket_of: dict[Token, int] = {}

        self._resolved: list[tuple[Token, Outcome]] = []
        self._answers: list[Forwarded] = []
        self.counts = {"applied": 0, "refused": 0, "unknown": 0}
        """Of this node's own callers, by outcome."""

    # ------------------------------------------------------------------------------------------------------- arrivals

    def admit(self, submissions: Sequence[Submission]) -> None:
        for submission in submissions:
            refusal = self._objection(submission.command) or _malformed(submission.command)
            self._open[submission.token] = submission
            self._open_bytes += len(submission.command)
            if refusal is not None:
                self.resolve(submission.token, refusal)
            else:
                self._waiting[submission.token] = submission
                heappush(self._deadlines, (submission.deadline, submission.token))

    def admit_change(self, token: Token, term: Term, index: Index, deadline: Instant) -> None:
        """A change of members that somebody here asked for stands in this node's log."""
        self._open[token] = Submission(token, b"", deadline)
        heappush(self._deadlines, (deadline, token))
        self.proposed([(token, b"")], term, index)

    def admit_forward(self, forward: Forward) -> None:
        asked = Asked(forward.source, forward.ticket)
        if asked in self._met:
            return  # the transport brought it twice
        if forward.ticket <= self._forgotten.get(forward.source, NO_TICKET):
            return  # perhaps one that was met and forgotten since: whoever asked hears that its fate is not known
        self._met[asked] = None
        if len(self._met) > _TICKETS_REMEMBERED:
            oldest = next(iter(self._met))
            del self._met[oldest]
            self._forgotten[oldest.peer] = max(oldest.ticket, self._forgotten.get(oldest.peer, NO_TICKET))
        refusal = self._objection(forward.command) or _malformed(forward.command)
        if refusal is not None:
            self.resolve(asked, refusal)
        else:
            self._arrived.append((asked, forward.command))

    def _objection(self, command: bytes) -> Refused | None:
        if len(command) > self._largest_command:
            return Refused("too-large")
        if self._open_bytes + len(command) > OPEN_BYTES_LIMIT:
            return Refused("overloaded")
        undecided = len(self._waiting) + len(self._arrived) + len(self._proposed) + len(self._forwarded)
        return Refused("overloaded") if undecided >= UNDECIDED_LIMIT else None

    @property
    def anything_to_place(self) -> bool:
        return bool(self._waiting or self._arrived)

    # ------------------------------------------------------------------------------------------------------ under way

    def take_all(self) -> list[tuple[Origin, bytes]]:
        """What waits here, to be proposed; forwarded ones of peers first."""
        batch: list[tuple[Origin, bytes]] = list(self._arrived)
        batch.extend((token, submission.command) for token, submission in self._waiting.items())
        self._arrived.clear()
        self._waiting.clear()
        return batch

    def put_back(self, batch: Sequence[tuple[Origin, bytes]]) -> None:
        """This node turned out not to lead: its own commands wait on; peers are told, for one hop is all there is."""
        for origin, _ in batch:
            if isinstance(origin, Asked):
                self.resolve(origin, Refused("not-leader"))
            else:
                self._waiting[origin] = self._open[origin]

    def proposed(self, batch: Sequence[tuple[Origin, bytes]], term: Term, first: Index) -> None:
        for offset, (origin, _) in enumerate(batch):
            index = Index(first + offset)
            earlier = self._proposed.get(index, ())
            self._proposed[index] = (*earlier, _Proposal(term, origin))
            self._place_of[origin] = index

    def forward_all(self, leader: MemberId) -> list[Forward]:
        """What this node's own callers wait with, on its way to the leader."""
        forwards = []
        for submission in self._waiting.values():
            self._last_ticket += 1
            self._forwarded[self._last_ticket] = _Travelling(submission, leader)
            self._ticket_of[submission.token] = self._last_ticket
            forwards.append(Forward(self._me, leader, self._last_ticket, submission.command))
        self._waiting.clear()
        return forwards

    def refuse_arrived(self) -> None:
        """This node does not lead: whoever forwarded here is told at once."""
        while self._arrived:
            self.resolve(self._arrived.popleft()[0], Refused("not-leader"))

    # ------------------------------------------------------------------------------------------------------- outcomes

    def committed(self, index: Index, term: Term, result: Outcome | None) -> None:
        """The entry at `index` is committed and applied; `result` is `None` where it carried no command."""
        for proposal in self._decided(index):
            outcome = result if result is not None and proposal.term == term else Refused("not-leader")
            self.resolve(proposal.origin, outcome)

    def covered(self, index: Index) -> None:
        """A leader's snapshot takes the place of the log up to `index`: it does not say what became of proposals."""
        for proposed in [proposed for proposed in self._proposed if proposed <= index]:
            for proposal in self._decided(proposed):
                self.resolve(proposal.origin, Unknown())

    def _decided(self, index: Index) -> tuple[_Proposal, ...]:
        proposals = self._proposed.pop(index, ())
        for proposal in proposals:
            del self._place_of[proposal.origin]
        return proposals

    def _forget_proposal(self, origin: Origin) -> None:
        """Nobody waits for it any more, if it is one."""
        index = self._place_of.pop(origin, None)
        if index is None:
            return
        others = tuple(proposal for proposal in self._proposed[index] if proposal.origin != origin)
        if others:
            self._proposed[index] = others
        else:
            del self._proposed[index]

    def answered(self, answer: Forwarded) -> bool:
        """The leader answers. Returns whether the command is back with us, because that node does not lead."""
        travelling = self._forwarded.get(answer.ticket)
        if travelling is None or travelling.leader != answer.source:
            return False
        submission = self._arrive(answer.ticket)
        if answer.outcome == Refused("not-leader"):
            self._waiting[submission.token] = submission
            return True
        self.resolve(submission.token, answer.outcome)
        return False

    def replaced(self, peer: MemberId) -> None:
        """Another process speaks for that peer now: it knows nothing of what the old one was asked, and its own tickets
        begin somewhere else."""
        self.lost(peer)
        self._forgotten.pop(peer, None)

    def lost(self, peer: MemberId) -> None:
        """What was on its way to that peer may have arrived, or not; and so says the peer of what it asked of us."""
        for asked in [origin for origin in self._place_of if isinstance(origin, Asked) and origin.peer == peer]:
            self._forget_proposal(asked)
        gone = [ticket for ticket, travelling in self._forwarded.items() if travelling.leader == peer]
        for ticket in gone:
            self.resolve(self._arrive(ticket).token, Unknown())

    def _arrive(self, ticket: int) -> Submission:
        submission = self._forwarded.pop(ticket).submission
        del self._ticket_of[submission.token]
        return submission

    def expire(self, now: Instant) -> None:
        """The time of some callers is over. What nobody was given did nothing; the rest may yet take effect."""
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][1] not in self._open):
            token = heappop(self._deadlines)[1]
            if token in self._open:
                self._give_up(token)

    def _give_up(self, token: Token) -> None:
        ticket = self._ticket_of.get(token)
        if ticket is not None:
            self._arrive(ticket)
        self._forget_proposal(token)
        nobody_asked = self._waiting.pop(token, None) is not None
        self.resolve(token, Refused("no-leader") if nobody_asked else Unknown())

    @property
    def next_deadline(self) -> Instant | None:
        return self._deadlines[0][0] if self._deadlines else None

    def end(self) -> None:
        """This node stops: what was under way stays unknown."""
        for token in list(self._open):
            self._give_up(token)

    def resolve(self, origin: Origin, outcome: Outcome) -> None:
        if isinstance(origin, Asked):
            self._answers.append(Forwarded(self._me, origin.peer, origin.ticket, outcome))
        elif (submission := self._open.pop(origin, None)) is not None:  # else nobody waits any more
            self._open_bytes -= len(submission.command)
            self._resolved.append((origin, outcome))
            self.counts[_count_of(outcome)] += 1

    def take_resolved(self) -> list[tuple[Token, Outcome]]:
        resolved, self._resolved = self._resolved, []
        return resolved

    def take_answers(self) -> list[Forwarded]:
        answers, self._answers = self._answers, []
        return answers


def _malformed(command: bytes) -> Refused | None:
    """A command is looked at before it enters the log, whoever made it: in there, it could end every member."""
    try:
        match commands.decode(command):
            case commands.InSession() as carrier:
                possible = _is_storable(commands.decode_nested(carrier))
            case commands.OpenSession() | commands.CloseSession():
                possible = True
            case commands.Pause() | commands.Resume() | commands.Starting() | commands.Stopped():
                possible = True
            case commands.Elapse():
                possible = False  # time is told by the leader's own driver
            case decoded:
                possible = _is_storable(decoded)
    except (msgspec.DecodeError, json_text.NotJson):
        possible = False
    return None if possible else Refused("malformed")


def _is_storable(command: DocumentCommand) -> bool:
    match command:
        case commands.Put(value=text) | commands.PutIf(value=text):
            return json_text.value_text(text) == text
        case commands.Replace(document=text) | commands.Patch(patch=text):
            return json_text.document_text(text) == text
        case commands.Transaction(operations=operations):
            return all(map(_is_storable, operations))
        case commands.Delete():
            return True


def _count_of(outcome: Outcome) -> str:
    match outcome:
        case Applied() | Transacted() | Noted() | SessionOpened() | SessionClosed():
            return "applied"
        case Unknown():
            return "unknown"
        case _:
            return "refused"
