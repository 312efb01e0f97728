"""What whoever asked for a command is told."""

from typing import Any

from raftq_k8s.node.forwarding import Forward, Refused
from raftq_k8s.node.submissions import Asked, Submissions
from raftq_k8s.raft.types import Index, Instant, MemberId, Term
from raftq_k8s.sim.mutations.mutation import Mutation
from raftq_k8s.sim.mutations.provoking import datagrams
from raftq_k8s.state.commands import Applied


def _answer_at_once(self: Submissions, batch: Any, term: Term, first: Index) -> None:
    for offset, (origin, _) in enumerate(batch):
        self.resolve(origin, Applied(int(first + offset), existed=False))


def _committed_whatever_the_term(self: Submissions, index: Index, term: Term, result: Any) -> None:
    for proposal in self._decided(index):
        self.resolve(proposal.origin, Refused("not-leader") if result is None else result)


def _admit_each(self: Submissions, forward: Forward) -> None:
    self._arrived.append((Asked(forward.source, forward.ticket), forward.command))


def _lost_is_refused(self: Submissions, peer: MemberId) -> None:
    for ticket in [ticket for ticket, travelling in self._forwarded.items() if travelling.leader == peer]:
        self.resolve(self._arrive(ticket).token, Refused("not-leader"))


def _never_answer(self: Submissions, now: Instant) -> None:
    self._deadlines.clear()


MUTATIONS = (
    Mutation(
        "answer-when-proposed",
        "7",
        "a caller hears success before the commit",
        ((Submissions, "proposed", _answer_at_once),),
    ),
    Mutation(
        "stale-leader-answers",
        "7",
        "whatever commits at the index of a proposal answers it",
        ((Submissions, "committed", _committed_whatever_the_term),),
        ("partition", "crash", "pause"),
        2.0,
    ),
    Mutation(
        "forwarded-twice",
        "9",
        "a command that was brought twice takes effect twice",
        ((Submissions, "admit_forward", _admit_each),),
        ("lossy",),
        3.0,
        datagrams,
    ),
    Mutation(
        "lost-is-refused", "9", "a lost connection is taken for a refusal", ((Submissions, "lost", _lost_is_refused),)
    ),
    Mutation(
        "never-answer",
        "9",
        "callers' deadlines are not kept",
        ((Submissions, "expire", _never_answer),),
        ("lossy",),
        3.0,
        datagrams,
    ),
)
