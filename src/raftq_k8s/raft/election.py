"""Elections: who asks for votes, and who gets one (paper §5.2 and §5.4.1; pre-vote: dissertation §9.6).

A node that hears no leader first asks for *pre-votes*: would you vote for me? Nothing changes by asking, so a node that
returns from isolation disturbs nobody. A voter says no, to pre-votes and votes alike, as long as its window after a
leader's last message lasts (§4.2.3), and does not even take over the candidate's term. It says how long the window
still lasts, and the pre-candidate asks again when it ends, not a random time later.

When a connection to the leader dies, waiting for the whole random time would be waste: the follower asks as soon as its
own window is over. So that two followers do not ask at the same instant, each waits a little longer by its rank among
the names, and a little more by chance.
"""

from raftq_k8s.raft import changes, replication, transfer
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.messages import Entry, EntryKind, TimeoutNow, VoteRequest, VoteResponse
from raftq_k8s.raft.quorum import Tally, tally
from raftq_k8s.raft.roles import Candidate, Follower, Leader, PreCandidate
from raftq_k8s.raft.types import NO_TRANSFER, Index, Instant, MemberId, Milliseconds, Term, TransferId

RANK_STAGGER = 0.1
CHANCE_STAGGER = 0.04
"""Parts of a window: together what a follower waits when it knows that the leader's connection is gone."""


def campaign_if_due(core: Core, now: Instant) -> None:
    if not isinstance(core.role, Leader) and now >= core.election_at:
        if core.eligible and core.may_stand:
            ask_for_pre_votes(core, now)
        else:
            core.follow(core.term, None, now)
            core.restart_election_timer(now)


def leader_connection_lost(core: Core, peer: MemberId, now: Instant) -> None:
    """A hint that the leader is gone: stand as soon as the window allows, and not all at once."""
    if isinstance(core.role, Follower) and core.role.leader == peer and core.is_voter:
        core.election_at = min(core.election_at, max(now, core.refuse_until) + _stagger(core, peer))


def _stagger(core: Core, gone: MemberId) -> Milliseconds:
    rank = [voter for voter in core.configuration.voting if voter != gone].index(core.me)
    return core.settings.window * (RANK_STAGGER * rank + core.dice.between(0.0, CHANCE_STAGGER))


# ----------------------------------------------------------------------------------------------------------- candidates


def ask_for_pre_votes(core: Core, now: Instant) -> None:
    core.role = PreCandidate()
    core.restart_election_timer(now)
    _ask_everybody(core, Term(core.term + 1), NO_TRANSFER, pre_vote=True)
    _count(core, core.role.votes, core.me, True, now)


def on_timeout_now(core: Core, message: TimeoutNow, now: Instant) -> None:
    """The leader hands over to this node: no pre-votes, and votes that pass the windows of those who hear it."""
    if not transfer.is_to_be_heeded(core, message, now):
        core.ignore("timeout-now")
        return
    core.follow(message.term, message.source, now)
    _ask_for_votes(core, now, message.transfer)


def _ask_for_votes(core: Core, now: Instant, handed_over: TransferId = NO_TRANSFER) -> None:
    core.role = Candidate()
    core.term = Term(core.term + 1)
    core.vote = core.me
    core.change_hard_state()
    core.restart_election_timer(now)
    _ask_everybody(core, core.term, handed_over, pre_vote=False)
    # Its own vote counts when it is on disk, like everybody's: an answer to itself, that waits for the write.
    core.send_after_writes(VoteResponse(core.me, core.me, core.term, granted=True, pre_vote=False, window_left=0.0))


def _ask_everybody(core: Core, term: Term, handed_over: TransferId, *, pre_vote: bool) -> None:
    for peer in core.configuration.voting:
        if peer == core.me:
            continue
        incarnation = core.configuration.incarnations[peer]
        core.send(
            VoteRequest(
                core.me, peer, term, incarnation, core.log.last_index, core.log.last_term, pre_vote, handed_over
            )
        )


def on_vote_response(core: Core, response: VoteResponse, now: Instant) -> None:
    if response.term > core.term and not (response.granted and response.pre_vote):
        core.follow(response.term, None, now)
        return
    match core.role:
        case PreCandidate(votes=votes) if response.pre_vote and _answers(response, Term(core.term + 1), core.term):
            if response.window_left > 0:
                core.election_at = min(core.election_at, now + response.window_left + _chance(core))
            _count(core, votes, response.source, response.granted, now)
        case Candidate(votes=votes) if not response.pre_vote and response.term == core.term:
            _count(core, votes, response.source, response.granted, now)
        case _:
            core.ignore("late-vote")


def _answers(response: VoteResponse, asked: Term, current: Term) -> bool:
    """A granted pre-vote names the term that was asked for; a refusal the voter's, which is not above ours here."""
    return response.term == asked if response.granted else response.term <= current


def _chance(core: Core) -> Milliseconds:
    return core.settings.window * core.dice.between(0.0, CHANCE_STAGGER)


def _count(core: Core, votes: dict[MemberId, bool], voter: MemberId, granted: bool, now: Instant) -> None:
    votes.setdefault(voter, granted)
    outcome = tally(votes, core.configuration)
    if outcome is Tally.UNDECIDED:
        return
    match core.role:
        case PreCandidate() if outcome is Tally.WON:
            _ask_for_votes(core, now)
        case Candidate() if outcome is Tally.WON:
            core.elections["won"] += 1
            _lead(core, now)
        case PreCandidate():
            core.elections["pre-vote-lost"] += 1
            core.role = Follower(None)
        case _:
            core.elections["lost"] += 1
            core.role = Follower(None)


def _lead(core: Core, now: Instant) -> None:
    """Begin a term with an entry of it: only that commits what came before (§5.4.2), and tells everybody who leads."""
    first = Index(core.log.last_index + 1)
    leader = Leader(now, first)
    core.role = leader
    changes.meet_peers(core, leader, now)
    core.note_leader()
    core.log.append([Entry(first, core.term, EntryKind.NOOP)])
    replication.send_round(core, leader, now)


# --------------------------------------------------------------------------------------------------------------- voters


def on_vote_request(core: Core, request: VoteRequest, now: Instant) -> None:
    if request.incarnation != core.identity.incarnation:
        core.ignore("incarnation")
        return
    window_left = transfer.window_left(core, request, now)
    if window_left > 0 and request.term >= core.term and not _is_granted_already(core, request):
        _answer(core, request, granted=False, window_left=window_left)
    elif request.pre_vote:
        granted = request.term > core.term and core.log.is_up_to_date(request.last_index, request.last_term)
        _answer(core, request, granted=granted)
    else:
        if request.term > core.term:
            core.follow(request.term, None, now)
        _answer(core, request, granted=_grant(core, request, now))


def _is_granted_already(core: Core, request: VoteRequest) -> bool:
    """Saying again what was said before the window began breaks no promise; any other vote would, also one in a term
    that this node reached without voting."""
    return not request.pre_vote and request.term == core.term and core.vote == request.source


def _grant(core: Core, request: VoteRequest, now: Instant) -> bool:
    """One vote a term, and only for a log that lacks nothing that this one holds."""
    if request.term < core.term or core.vote not in (None, request.source):
        return False
    if not core.log.is_up_to_date(request.last_index, request.last_term):
        return False
    if core.vote is None:
        core.vote = request.source
        core.change_hard_state()
        core.restart_election_timer(now)
    return True


def _answer(core: Core, request: VoteRequest, *, granted: bool, window_left: Milliseconds = 0.0) -> None:
    term = request.term if granted and request.pre_vote else core.term
    core.send(VoteResponse(core.me, request.source, term, granted, request.pre_vote, window_left))
