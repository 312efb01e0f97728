"""What an observer has seen of one machine, so that a look at it needs to look at what changed only."""

from typing import NamedTuple

from raftq_k8s.raft.membership import Membership
from raftq_k8s.raft.quorum import NEVER
from raftq_k8s.raft.roles import Role
from raftq_k8s.raft.types import (
    NO_INDEX,
    NO_TERM,
    NO_TRANSFER,
    Index,
    Instant,
    MemberId,
    Milliseconds,
    Term,
    TransferId,
)


class Promise(NamedTuple):
    """For how long yet a machine elects nobody, as it stands at one moment."""

    left: Milliseconds
    all_left: Milliseconds
    """Not even somebody to whom a leader hands over."""
    refused_transfer: tuple[Term, TransferId]


NOTHING_PROMISED = Promise(NEVER, NEVER, (NO_TERM, NO_TRANSFER))


class Seen:
    __slots__ = (
        "base",
        "base_term",
        "commit",
        "configurations",
        "established",
        "last",
        "last_term",
        "led_to",
        "name",
        "promised_all_until",
        "promised_until",
        "refused_transfer",
        "role",
        "stood",
        "term",
        "terms",
        "vote",
        "wrote_as",
    )

    def __init__(self, name: MemberId) -> None:
        self.name = name
        self.base = NO_INDEX
        self.base_term = NO_TERM
        self.terms: list[Term] = []
        """Of the entries after the base, as its writes tell them."""
        self.configurations: list[tuple[Index, Membership]] = []
        """Those that its log holds, as its writes tell them; the first is that of its birth or its snapshot."""
        self.promised_until: Instant = NEVER
        """Until when, on its clock, it elects nobody, by all that it ever acknowledged: a restart changes nothing."""
        self.promised_all_until: Instant = NEVER
        """Until when not even somebody to whom a leader hands over: by what it acknowledged before its last start."""
        self.refused_transfer: tuple[Term, TransferId] = (NO_TERM, NO_TRANSFER)
        """The last transfer that it acknowledged to be given up, in this life."""
        self.forget()

    def forget(self) -> None:
        """What ends with a process."""
        self.term = NO_TERM
        self.vote: MemberId | None = None
        self.stood = (NO_TERM, NOTHING_PROMISED)
        """In which term it voted for itself last, and what it had promised by then."""
        self.commit = NO_INDEX
        self.role: Role | None = None
        self.wrote_as: Role | None = None
        self.led_to = NO_INDEX
        self.established = False
        self.last = NO_INDEX
        self.last_term = NO_TERM
        self.refused_transfer = (NO_TERM, NO_TRANSFER)
        self.promised_all_until = self.promised_until

    def start_promising_anew(self) -> None:
        """Another volume: another voter, which promised nothing."""
        self.promised_until = self.promised_all_until = NEVER

    def term_before(self, index: Index) -> Term:
        place = index - self.base - 2
        return self.terms[place] if place >= 0 else self.base_term

    @property
    def last_index(self) -> Index:
        return Index(self.base + len(self.terms))
