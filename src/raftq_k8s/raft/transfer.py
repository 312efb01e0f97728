"""Leadership handed to another voter, on purpose (dissertation §3.10), without breaking a lease.

A leader that is to hand over brings the target's log up to its own end, and takes no proposals meanwhile, for else that
end would run away. Then it tells the target `TimeoutNow`: stand for election at once, without asking for pre-votes.
The others hear their leader and would refuse, each for its window; so the votes that the target asks for are *forced*:
they pass the window.

That window is what the leader's lease rests on. So the lease is revoked first: from the start of the transfer on
`lease_until` is empty. A target that cannot catch up or be elected within a maximum election time is given up, and the
leader goes on; but its `TimeoutNow`, or the votes that it led to, may still be on their way, and would pass the windows
of a lease that was armed again. Hence each transfer has an id, which `TimeoutNow` and forced votes carry. Once a
transfer is given up, every append says "cancelled up to" its id; whoever heard that, and the leader itself, refuses
forced votes of it; and the lease is armed again only by acknowledgements of rounds sent after the end of the transfer
(`lease`). So of every majority that could elect the target one voter knows.

**A transfer belongs to its term.** Ids are counted anew by each leader, and a transfer of term t asks for votes of term
t + 1, never of another: so a forced vote names its transfer by term and id. In a later term the votes are refused for
their term, and a leader of term t + 1 itself was elected by voters whose vote of that term is given.

**What must be synced: nothing new.** A voter that restarts has forgotten which transfers are cancelled. What it
promised before was promised for a window, and that window it knows from its disk: after its start it refuses *all*
votes for so long, the forced ones too, its own included. What it promises afterwards it promises in answer to a new
append of the same leader, and each of those tells it again. An append from before the end of the transfer, which
arrives late, does not; nor does its acknowledgement arm the lease.

`quorum_until` ends the leader's time in a transfer as ever. A leader that is being replaced steps down when it hears of
the new term, at the latest then.
"""

from collections.abc import Collection

from raftq_k8s.raft import lease, replication
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.messages import TimeoutNow, VoteRequest
from raftq_k8s.raft.quorum import FOREVER
from raftq_k8s.raft.roles import Leader, Transfer
from raftq_k8s.raft.types import NO_TRANSFER, Instant, MemberId, Milliseconds, Term, TransferId

# -------------------------------------------------------------------------------------------------------------- leaders


def objection(core: Core, target: MemberId) -> str | None:
    """Why that node cannot be handed the leadership, ever, as the members are now."""
    if target == core.me:
        return f"{target} leads already"
    if target not in core.configuration.voters:
        return f"{target} is no voter of this cluster; {', '.join(core.configuration.voters)} are"
    return None


def successor(core: Core, leader: Leader, among: Collection[MemberId]) -> MemberId | None:
    """Of those, the voter that lacks the least, and of several the one that was heard last: one that has just died
    lacks as little. `None` where none votes."""
    candidates = [peer for peer in core.peers if peer in among and peer in core.configuration.voters]
    return max(candidates, key=lambda peer: (leader.progress[peer].match, leader.heard.get(peer, 0)), default=None)


def begin(core: Core, leader: Leader, target: MemberId, now: Instant) -> None:
    """Hand over to that voter, instead of to any other one that this was begun for."""
    if leader.transfer is not None:
        if leader.transfer.target == target:
            return
        cancel(core, leader, now)
    leader.last_transfer = TransferId(leader.last_transfer + 1)
    leader.transfer = Transfer(leader.last_transfer, target, now + core.settings.maximum_election)
    replication.replicate(core, leader, target)
    tell_target(core)


def tell_target(core: Core) -> None:
    """Once the target holds the whole log: let it stand, and say so again with each round, for messages get lost."""
    leader = core.role
    if not isinstance(leader, Leader) or leader.transfer is None:
        return
    transfer = leader.transfer
    caught_up = leader.progress[transfer.target].match == core.log.last_index
    if caught_up and transfer.told_in_round < leader.round:
        transfer.told_in_round = leader.round
        core.send(TimeoutNow(core.me, transfer.target, core.term, transfer.id))


def abdicate(core: Core, leader: Leader, now: Instant) -> None:
    """This leader votes no longer, by a committed configuration: lead no longer either, and let whoever lacks the least
    stand at once."""
    target = successor(core, leader, core.configuration.voters)
    assert target is not None  # somebody votes, and it is not this node
    core.send(TimeoutNow(core.me, target, core.term, TransferId(leader.last_transfer + 1)))
    core.follow(core.term, None, now)


def cancel(core: Core, leader: Leader, now: Instant) -> None:
    """Give the transfer up: from here on its votes are refused, and every append tells so. The lease begins anew."""
    if leader.transfer is None:
        return
    core.note_cancelled(core.term, leader.transfer.id)
    leader.transfer = None
    lease.begin_anew(leader)
    replication.send_round(core, leader, now)


def cancel_if_over(core: Core, now: Instant) -> None:
    if isinstance(core.role, Leader) and now >= wake_at(core.role):
        cancel(core, core.role, now)


def wake_at(leader: Leader) -> Instant:
    return leader.transfer.give_up_at if leader.transfer is not None else FOREVER


# --------------------------------------------------------------------------------------------------------------- voters


def window_left(core: Core, request: VoteRequest, now: Instant) -> Milliseconds:
    """For how long this node refuses to answer that request by its log and its vote alone."""
    if request.transfer != NO_TRANSFER and not _is_cancelled(core, Term(request.term - 1), request.transfer):
        return lease.window_after_start(core, now)
    return lease.window_left(core, now)


def is_to_be_heeded(core: Core, message: TimeoutNow, now: Instant) -> bool:
    """Whether this node is to stand for election because that leader tells it to.

    Its own vote is a forced one, too: it is not given within the window after the start of this process.
    """
    return (
        message.term >= core.term
        and not (isinstance(core.role, Leader) and message.term == core.term)
        and core.is_voter
        and core.eligible
        and lease.window_after_start(core, now) == 0
        and not _is_cancelled(core, message.term, message.transfer)
    )


def _is_cancelled(core: Core, term: Term, transfer: TransferId) -> bool:
    """Also when a leader of a later term was heard: then no earlier one has anything to hand over."""
    return (term, transfer) <= core.cancelled
