"""Who gets a vote, and who may lead."""

from typing import Any

import msgspec

from raftq_k8s.raft import consensus, election, quorum
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.log import Log
from raftq_k8s.raft.messages import VoteRequest
from raftq_k8s.raft.types import Index, Instant, Term
from raftq_k8s.sim.mutations.mutation import Mutation


def _grant_again(core: Core, request: VoteRequest, now: Instant) -> bool:
    if request.term < core.term or not core.log.is_up_to_date(request.last_index, request.last_term):
        return False
    core.vote = request.source
    core.change_hard_state()
    core.restart_election_timer(now)
    return True


def _half_is_enough(voters: int) -> int:
    return (voters + 1) // 2


_consensus_init = consensus.Consensus.__init__


def _forget_vote(self: consensus.Consensus, identity: Any, restored: Any, settings: Any, seed: int, now: float) -> None:
    forgotten = msgspec.structs.replace(restored.hard_state, vote=None)
    _consensus_init(self, identity, msgspec.structs.replace(restored, hard_state=forgotten), settings, seed, now)


def _forget_term(self: consensus.Consensus, identity: Any, restored: Any, settings: Any, seed: int, now: float) -> None:
    forgotten = msgspec.structs.replace(restored.hard_state, term=Term(0), vote=None)
    _consensus_init(self, identity, msgspec.structs.replace(restored, hard_state=forgotten), settings, seed, now)


def _any_log_will_do(self: Log, last_index: Index, last_term: Term) -> bool:
    return True


def _any_length_will_do(self: Log, last_index: Index, last_term: Term) -> bool:
    return last_term >= self.last_term


def _never_campaign(core: Core, now: Instant) -> None:
    core.election_at = now + 1000.0


MUTATIONS = (
    Mutation("half-is-enough", "1", "half of the voters elect and commit", ((quorum, "majority", _half_is_enough),)),
    Mutation("two-votes-a-term", "1", "a voter grants every request of a term", ((election, "_grant", _grant_again),)),
    Mutation("forget-the-vote", "1", "a restart forgets the vote", ((consensus.Consensus, "__init__", _forget_vote),)),
    Mutation("forget-the-term", "3", "a restart begins in term 0", ((consensus.Consensus, "__init__", _forget_term),)),
    Mutation("skip-log-comparison", "4", "votes for any log", ((Log, "is_up_to_date", _any_log_will_do),)),
    Mutation(
        "only-last-term-counts",
        "4",
        "a voter compares last terms, and no lengths",
        ((Log, "is_up_to_date", _any_length_will_do),),
    ),
    Mutation("never-campaign", "11", "nobody stands for election", ((election, "campaign_if_due", _never_campaign),)),
)
