"""What a peer has said to this process, and whether a later process of it can have said that. The rule is in
`greeting`."""

from raftq_k8s.raft.membership import Hello, Identity
from raftq_k8s.raft.types import NO_INDEX, NO_TERM, Index, MemberId, Term


class Witness:
    """What one incarnation of a peer has granted and acknowledged to this node; the last process of it that did."""

    __slots__ = ("committed", "index", "process", "term", "voted")

    def __init__(self, process: Identity) -> None:
        self.process = process
        self.term: Term = NO_TERM
        """The highest in which it did."""
        self.voted = False
        """In that term."""
        self.index: Index = NO_INDEX
        """Up to there it held this node's log, in that term."""
        self.committed: Index = NO_INDEX
        """Of what it ever held, so much was known here to be committed."""

    def note(self, term: Term) -> None:
        if term > self.term:
            self.term, self.voted, self.index = term, False, NO_INDEX

    def contradicts(self, hello: Hello, me: MemberId) -> bool:
        if hello.term != self.term:
            return hello.term < self.term or hello.last_index < self.committed
        lost_vote = self.voted and hello.vote != me
        return lost_vote or hello.last_index < max(self.index, self.committed)
