"""Reads that are linearizable and leave nothing in the log (dissertation §6.4).

A leader may have been replaced without having heard of it, so its own state alone proves nothing. It notes its commit
index when the read comes in, the *read index*, and asks around: once a quorum has acknowledged, in its term, a round
that was *sent after* the read came in, nobody had been elected above it when the read came in, for any election shares
a voter with that quorum; so nothing was acknowledged anywhere that its commit index did not cover. Whatever state has
applied up to the read index may then answer. An acknowledgement of an earlier round proves nothing: a rival may have
been elected, and may have acknowledged writes, between that round and the read.

A new leader does not know what its predecessors committed, only that all of it stands before the first entry of its own
term. So a read index is never below that entry, and no read is confirmed before that entry is committed.

Rounds are shared. Every read waits for the next round that is sent; one is sent at once when no read waits for an
earlier one, and otherwise as soon as that is confirmed, or when a round is due anyway. So there is at most one round
for reads under way, however many reads come in, and the more come in the more share it.

A follower asks its leader for the read index and answers from its own state. It numbers its requests, and shares them
as a leader shares rounds: a read is answered by any answer to a request sent after the read came in. Requests get lost,
so it asks again every heartbeat, whoever leads by then, and gives up after a maximum election time. Any answer is as
good as any other, also a late one of a deposed leader: it was confirmed after the request had been sent.

A *lease read* (§6.4.1) asks nobody: until `lease_until` no quorum elects a rival, if no two clocks differ in rate by
more than the lease allows for (`lease`). It rests on that bound, which a read with a round does not.

A read that fails did nothing, and says why (`ReadFailure`).
"""

from raftq_k8s.raft import lease, replication
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.messages import ReadIndexRequest, ReadIndexResponse
from raftq_k8s.raft.pending_reads import (
    AskedRead,
    ConfirmedRead,
    PeersRead,
    PendingRead,
    ReadContext,
    ReadFailure,
    ReadOrigin,
)
from raftq_k8s.raft.quorum import FOREVER, acknowledged_round
from raftq_k8s.raft.roles import Follower, Leader
from raftq_k8s.raft.types import Index, Instant, MemberId

READS_LIMIT = 1 << 16
"""Reads that wait at one node; beyond it they fail as overloaded."""


def read(core: Core, context: ReadContext, now: Instant) -> None:
    """Find the index up to which a state must have applied the log to answer this read."""
    match core.role:
        case Leader() as leader:
            _admit(core, leader, context, now)
        case Follower(leader=str() as leader_name):
            _ask_leader(core, leader_name, context, now)
        case _:
            core.reads.fail(context, ReadFailure.NO_LEADER)


def leased_index(core: Core, now: Instant) -> Index | None:
    """The read index that the lease alone vouches for; `None` where it does not."""
    leader = core.role
    if not isinstance(leader, Leader) or core.commit < leader.first_index or now >= lease.lease_until(core, leader):
        return None
    return core.commit


# -------------------------------------------------------------------------------------------------------------- leaders


def _admit(core: Core, leader: Leader, origin: ReadOrigin, now: Instant) -> None:
    if len(leader.reads) >= READS_LIMIT:
        core.fail_read(origin, ReadFailure.OVERLOADED)
        return
    leader.reads.append(PendingRead(origin, max(core.commit, leader.first_index), leader.round + 1))
    confirm(core, now)


def confirm(core: Core, now: Instant) -> None:
    """Answer what a quorum has confirmed, and send a round for what waits for one."""
    leader = core.role
    if not isinstance(leader, Leader):
        return
    _answer_confirmed(core, leader)
    if leader.reads and leader.reads[0].round > leader.round:
        replication.send_round(core, leader, now)
        _answer_confirmed(core, leader)  # a lone voter is its own quorum


def _answer_confirmed(core: Core, leader: Leader) -> None:
    if not leader.reads:
        return
    confirmed = acknowledged_round({**leader.heard, core.me: leader.round}, core.configuration)
    while leader.reads and leader.reads[0].round <= confirmed and leader.reads[0].index <= core.commit:
        _answer(core, leader.reads.popleft())


def _answer(core: Core, pending: PendingRead) -> None:
    match pending.origin:
        case PeersRead(peer, ticket):
            core.send(ReadIndexResponse(core.me, peer, core.term, ticket, True, pending.index))
        case context:
            core.reads.confirmed.append(ConfirmedRead(context, pending.index))


def on_read_index_request(core: Core, request: ReadIndexRequest, now: Instant) -> None:
    if request.term > core.term:
        core.follow(request.term, None, now)
    origin = PeersRead(request.source, request.ticket)
    if isinstance(core.role, Leader):
        _admit(core, core.role, origin, now)
    else:
        core.fail_read(origin, ReadFailure.NOT_LEADER)


# ------------------------------------------------------------------------------------------------------------ followers


def _ask_leader(core: Core, leader: MemberId, context: ReadContext, now: Instant) -> None:
    reads = core.reads
    if len(reads.asked) >= READS_LIMIT:
        reads.fail(context, ReadFailure.OVERLOADED)
        return
    reads.asked.append(AskedRead(context, reads.last_ticket + 1, now + core.settings.maximum_election))
    if reads.asked[0].ticket > reads.last_ticket:
        _ask(core, leader, now)


def _ask(core: Core, leader: MemberId, now: Instant) -> None:
    core.reads.last_ticket += 1
    core.reads.ask_again_at = now + core.settings.heartbeat
    core.send(ReadIndexRequest(core.me, leader, core.term, core.reads.last_ticket))


def on_read_index_response(core: Core, response: ReadIndexResponse, now: Instant) -> None:
    if response.term > core.term:
        core.follow(response.term, None, now)
    reads = core.reads
    if response.ticket > reads.last_ticket:
        core.ignore("impossible")
        return
    answered = [asked for asked in reads.asked if asked.ticket <= response.ticket]
    if not answered:
        core.ignore("late-read-index")
        return
    reads.asked = reads.asked[len(answered) :]
    for asked in answered:
        if response.granted:
            reads.confirmed.append(ConfirmedRead(asked.context, response.index))
        else:
            reads.fail(asked.context, ReadFailure.NOT_LEADER)
    if reads.asked and reads.asked[0].ticket > reads.last_ticket:
        _ask_whoever_leads(core, now)


def ask_again_if_due(core: Core, now: Instant) -> None:
    """Requests and answers get lost, and leaders change."""
    if now < wake_at(core):
        return
    reads = core.reads
    for asked in reads.asked:
        if asked.give_up_at <= now:
            reads.fail(asked.context, ReadFailure.UNANSWERED)
    reads.asked = [asked for asked in reads.asked if asked.give_up_at > now]
    if reads.asked:
        _ask_whoever_leads(core, now)


def _ask_whoever_leads(core: Core, now: Instant) -> None:
    match core.role:
        case Follower(leader=str() as leader):
            _ask(core, leader, now)
        case _:
            for asked in core.reads.asked:
                core.reads.fail(asked.context, ReadFailure.NO_LEADER)
            core.reads.asked = []


def wake_at(core: Core) -> Instant:
    return core.reads.ask_again_at if core.reads.asked else FOREVER
