"""Deliberate bugs, to see that the simulator finds such. Each patches the core (or the driver) while a run lasts.

They stand here and not in the core: nothing that ships can be mutated by a setting. A mutation names the invariant it
is meant for; which one catches it first may be another, for a broken rule breaks what rests on it. `faults` narrows the
swarm to the kinds that provoke it soonest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import msgspec

from raftq_k8s.node.driver import Driver
from raftq_k8s.node.forwarding import Forward, Refused
from raftq_k8s.node.submissions import Asked, Submissions
from raftq_k8s.raft import consensus, election, lease, quorum, replication
from raftq_k8s.raft.core import Core, Outgoing
from raftq_k8s.raft.log import Log
from raftq_k8s.raft.messages import AppendEntries, AppendResponse, Entry, EntryKind, VoteRequest
from raftq_k8s.raft.progress import Progress
from raftq_k8s.raft.quorum import NEVER, committed_index
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import Index, Instant, MemberId, Milliseconds, Term
from raftq_k8s.sim.faults import KINDS, Plan, swarm
from raftq_k8s.state.commands import Applied, InSession, NoSuchSession, Result
from raftq_k8s.state.sessions import Reply, Session, Sessions


class Mutation(NamedTuple):
    name: str
    meant_for: str
    what: str
    patches: tuple[tuple[Any, str, Any], ...]
    faults: tuple[str, ...] = tuple(KINDS)
    often: float = 1.0

    def provoking(self, seed: int) -> Plan:
        return swarm(seed, self.faults, often=self.often)


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    before = [(target, name, getattr(target, name)) for target, name, _ in mutation.patches]
    for target, name, replacement in mutation.patches:
        setattr(target, name, replacement)
    try:
        yield
    finally:
        for target, name, original in before:
            setattr(target, name, original)


# ------------------------------------------------------------------------------------------------------------ elections


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


# ----------------------------------------------------------------------------------------------------------------- disk


def _send_at_once(self: Core, outgoing: Outgoing) -> None:
    self._let_leave(outgoing)


def _acknowledge_at_once(core: Core, append: AppendEntries, agreed: Index) -> None:
    core.send(replication._success(core, append, agreed))


_follow = Core.follow


def _adopt_without_writing(self: Core, term: Term, leader: MemberId | None, now: Instant) -> None:
    changed = self._hard_state_changed
    _follow(self, term, leader, now)
    self._hard_state_changed = changed


def _forget_nothing_unsynced(self: Log, keep: Index) -> None:
    self._handed = min(self._handed, keep)


def _commit_unsynced(core: Core, now: Instant) -> None:
    _commit(core, core.log.last_index, core.term)


def _commit_old_terms(core: Core, now: Instant) -> None:
    _commit(core, core.log.stable, None)


def _commit(core: Core, own: Index, only: Term | None) -> None:
    leader = core.role
    if not isinstance(leader, Leader):
        return
    held = {peer: progress.match for peer, progress in leader.progress.items()}
    index = committed_index({**held, core.me: own}, core.configuration)
    if index > core.commit and only in (None, core.log.term_at(index)):
        core.commit = index


# ---------------------------------------------------------------------------------------------------------- replication


_on_append_entries = replication.on_append_entries


def _commit_past_agreed(core: Core, append: AppendEntries, now: Instant) -> None:
    _on_append_entries(core, append, now)
    if append.term == core.term and not isinstance(core.role, Leader):
        core.commit = max(core.commit, min(append.commit, core.log.last_index))


def _always_conflicts(self: Log, entries: Any) -> int:
    return 0


def _always_matches(self: Log, index: Index, term: Term) -> bool:
    return index <= self.last_index


_on_append_response = replication.on_append_response


def _drop_own_tail(core: Core, response: AppendResponse, now: Instant) -> None:
    leader = core.role
    if isinstance(leader, Leader) and not response.success and core.log.last_index > max(core.commit, 1):
        last = core.log.last_index
        core.log.overwrite([Entry(last, core.term, EntryKind.NOOP)])
    _on_append_response(core, response, now)


def _rewrite_own_tail(core: Core, leader: Leader, commands: Any) -> Index:
    first = Index(core.commit + 1 if core.commit > leader.first_index else core.log.last_index + 1)
    core.log.overwrite([Entry(Index(first + i), core.term, EntryKind.COMMAND, c) for i, c in enumerate(commands)])
    return first


def _never_refused(self: Progress, previous: Index, agreed_at_most: Index) -> bool:
    return True


def _never_campaign(core: Core, now: Instant) -> None:
    core.election_at = now + 1000.0


# ---------------------------------------------------------------------------------------------------------------- lease


def _no_window(core: Core, now: Instant) -> Milliseconds:
    return 0.0


def _forget_promise(core: Core, now: Instant) -> None:
    core.refuse_until = NEVER
    core.restart_election_timer(now)


def _never_over(core: Core, now: Instant) -> None:
    pass


# --------------------------------------------------------------------------------------------------------------- driver


_apply = Driver._apply


def _apply_twice(self: Driver) -> None:
    if self._to_apply:
        self._to_apply = (*self._to_apply, self._to_apply[-1])
    _apply(self)


def _skip_one(self: Driver) -> None:
    if len(self._to_apply) > 1:
        self._to_apply = self._to_apply[1:]
    _apply(self)


def _answer_at_once(self: Submissions, batch: Any, term: Term, first: Index) -> None:
    for offset, (origin, _) in enumerate(batch):
        self.resolve(origin, Applied(int(first + offset), existed=False))


def _committed_whatever_the_term(self: Submissions, index: Index, term: Term, result: Any) -> None:
    for proposal in self._proposed.pop(index, ()):
        self.resolve(proposal.origin, Refused("not-leader") if result is None else result)


def _admit_each(self: Submissions, forward: Forward) -> None:
    self._arrived.append((Asked(forward.source, forward.ticket), forward.command))


def _lost_is_refused(self: Submissions, peer: MemberId) -> None:
    for ticket in [ticket for ticket, travelling in self._forwarded.items() if travelling.leader == peer]:
        self.resolve(self._arrive(ticket).token, Refused("not-leader"))


def _never_answer(self: Submissions, now: Instant) -> None:
    self._deadlines.clear()


# ------------------------------------------------------------------------------------------------------------- sessions


def _no_reply(self: Session, sequence: int) -> Reply | None:
    return None


def _no_use(self: Sessions, session: Session) -> None:
    self._sessions[session.session] = session


_once = Sessions.once


def _carried_out_without_session(self: Sessions, command: InSession, carry_out: Callable[[], Any]) -> Result:
    result = _once(self, command, carry_out)
    return carry_out() if isinstance(result, NoSuchSession) else result


MUTATIONS: tuple[Mutation, ...] = (
    Mutation("half-is-enough", "1", "half of the voters elect and commit", ((quorum, "majority", _half_is_enough),)),
    Mutation("two-votes-a-term", "1", "a voter grants every request of a term", ((election, "_grant", _grant_again),)),
    Mutation("forget-the-vote", "1", "a restart forgets the vote", ((consensus.Consensus, "__init__", _forget_vote),)),
    Mutation(
        "rewrite-own-tail",
        "2",
        "a leader puts new commands in the place of uncommitted ones",
        ((replication, "append_commands", _rewrite_own_tail),),
    ),
    Mutation(
        "drop-own-tail",
        "2",
        "a leader that is refused gives its last entry up",
        ((replication, "on_append_response", _drop_own_tail),),
    ),
    Mutation(
        "skip-the-match",
        "3",
        "a follower takes appends without a match",
        ((Log, "matches", _always_matches),),
        ("partition", "crash", "bridge"),
        2.0,
    ),
    Mutation("forget-the-term", "3", "a restart begins in term 0", ((consensus.Consensus, "__init__", _forget_term),)),
    Mutation("skip-log-comparison", "4", "votes for any log", ((Log, "is_up_to_date", _any_log_will_do),)),
    Mutation(
        "only-last-term-counts",
        "4",
        "a voter compares last terms, and no lengths",
        ((Log, "is_up_to_date", _any_length_will_do),),
    ),
    Mutation(
        "count-old-terms",
        "4",
        "replicas of old-term entries are counted",
        ((replication, "commit_if_held", _commit_old_terms),),
    ),
    Mutation(
        "commit-past-agreed",
        "5",
        "a follower commits what it did not compare",
        ((replication, "on_append_entries", _commit_past_agreed),),
    ),
    Mutation("apply-twice", "5", "the last of each batch is applied twice", ((Driver, "_apply", _apply_twice),)),
    Mutation("apply-with-gaps", "5", "the first of a batch is skipped", ((Driver, "_apply", _skip_one),)),
    Mutation("persist-after-sending", "6", "messages leave before the write ends", ((Core, "send", _send_at_once),)),
    Mutation(
        "acknowledge-unsynced",
        "6",
        "an append is acknowledged before it is synced",
        ((replication, "_acknowledge", _acknowledge_at_once),),
    ),
    Mutation(
        "term-not-kept", "6", "a higher term is adopted, and not written", ((Core, "follow", _adopt_without_writing),)
    ),
    Mutation(
        "count-own-unsynced",
        "6",
        "a leader counts its own entries before they are synced",
        ((replication, "commit_if_held", _commit_unsynced),),
    ),
    Mutation(
        "append-aba",
        "6",
        "a truncation does not shorten the writes under way",
        ((Log, "_forget_unsynced", _forget_nothing_unsynced),),
    ),
    Mutation(
        "truncate-always",
        "6",
        "an append that is known already truncates what follows it",
        ((Log, "first_conflict", _always_conflicts),),
    ),
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
    ),
    Mutation(
        "lost-is-refused", "9", "a lost connection is taken for a refusal", ((Submissions, "lost", _lost_is_refused),)
    ),
    Mutation(
        "never-answer",
        "9",
        "callers' deadlines are not kept",
        ((Submissions, "expire", _never_answer),),
        ("partition", "one-way", "freeze", "lossy"),
    ),
    Mutation(
        "reply-not-kept",
        "9",
        "a session carries a repeated command out again",
        ((Session, "reply_to", _no_reply),),
        ("break", "lossy", "crash"),
    ),
    Mutation(
        "use-does-not-count",
        "9",
        "a session expires though it is used",
        ((Sessions, "_used", _no_use),),
        ("pause",),
    ),
    Mutation(
        "expired-is-carried-out",
        "9",
        "a command of a session that is gone is carried out",
        ((Sessions, "once", _carried_out_without_session),),
        ("break", "freeze", "crash"),
    ),
    Mutation("lease-too-long", "10", "a lease lasts longer than the window", ((lease, "DRIFT_ALLOWANCE", 1.5),)),
    Mutation(
        "no-drift-allowance",
        "10",
        "clocks are taken for equal",
        ((lease, "DRIFT_ALLOWANCE", 1.0),),
        ("drift", "partition", "one-way", "break", "bridge"),
    ),
    Mutation("window-ignored", "10", "a voter elects whoever asks", ((lease, "window_left", _no_window),)),
    Mutation(
        "restart-forgets-promise",
        "10",
        "a restarted voter refuses nobody",
        ((lease, "forget_nothing", _forget_promise),),
        ("bridge", "partition", "crash"),
        3.0,
    ),
    Mutation("no-step-down", "10", "a leader without a quorum goes on", ((lease, "step_down_if_over", _never_over),)),
    Mutation("never-probe", "11", "a refused append is not followed up", ((Progress, "refused", _never_refused),)),
    Mutation("never-campaign", "11", "nobody stands for election", ((election, "campaign_if_due", _never_campaign),)),
)
