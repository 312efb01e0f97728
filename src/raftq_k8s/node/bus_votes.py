"""`voteRequest` and `voteResponse`: votes, and the greetings that ride beside them.

The contract's `candidate` and `voter` say who speaks, also where a hello is all that is said. Its `granted` answers
either question: whether the vote is given, whether the process is listened to. What a hello looks like is
`bus_greetings`' to say; who gets a vote, the core's.
"""

from raftq_k8s.node.bus_envelope import AnyIndex, AnyTerm, AnyTransfer, Part, Process
from raftq_k8s.node.bus_greetings import Greeting, HelloPart, Verdict
from raftq_k8s.raft.membership import Identity, Refusal
from raftq_k8s.raft.messages import VoteRequest, VoteResponse
from raftq_k8s.raft.types import NO_TRANSFER, Incarnation, MemberId, Milliseconds, Term


class _VoteAsked(Part, frozen=True):
    incarnation: Incarnation
    last_index: AnyIndex
    last_term: AnyTerm
    pre_vote: bool
    transfer: AnyTransfer = NO_TRANSFER


class VoteRequestBody(Part, frozen=True):
    candidate: MemberId
    vote: _VoteAsked | None = None
    hello: HelloPart | None = None

    @classmethod
    def of(cls, me: MemberId, spoken: VoteRequest | Greeting) -> "VoteRequestBody":
        match spoken:
            case VoteRequest(incarnation=incarnation, last_index=index, last_term=term, pre_vote=pre_vote):
                return cls(me, vote=_VoteAsked(incarnation, index, term, pre_vote, spoken.transfer))
            case Greeting(hello):
                return cls(me, hello=HelloPart.of(hello))

    @property
    def speaker(self) -> MemberId:
        return self.candidate

    def spoken(self, sender: Identity, me: MemberId, term: Term) -> VoteRequest | Greeting | None:
        if (vote := self.vote) is not None:
            return VoteRequest(
                sender.member,
                me,
                term,
                vote.incarnation,
                vote.last_index,
                vote.last_term,
                vote.pre_vote,
                vote.transfer,
            )
        if self.hello is not None:
            return Greeting(self.hello.hello(sender))
        return None


class _VoteAnswered(Part, frozen=True):
    pre_vote: bool
    window_left: Milliseconds


class VoteResponseBody(Part, frozen=True):
    voter: MemberId
    granted: bool
    vote: _VoteAnswered | None = None
    hello: HelloPart | None = None
    judged: Process | None = None
    refusal: Refusal | None = None

    @classmethod
    def of(cls, me: MemberId, spoken: VoteResponse | Verdict) -> "VoteResponseBody":
        match spoken:
            case VoteResponse(granted=granted, pre_vote=pre_vote, window_left=window_left):
                return cls(me, granted, vote=_VoteAnswered(pre_vote, window_left))
            case Verdict(hello, judged, refusal):
                granted = refusal is None
                return cls(me, granted, hello=HelloPart.of(hello), judged=Process.of(judged), refusal=refusal)

    @property
    def speaker(self) -> MemberId:
        return self.voter

    def spoken(self, sender: Identity, me: MemberId, term: Term) -> VoteResponse | Verdict | None:
        if (vote := self.vote) is not None:
            return VoteResponse(sender.member, me, term, self.granted, vote.pre_vote, vote.window_left)
        if self.hello is not None and self.judged is not None:
            return Verdict(self.hello.hello(sender), self.judged.identity(me), self.refusal)
        return None
