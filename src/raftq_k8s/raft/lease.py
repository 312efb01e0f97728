"""Time: until when a voter elects nobody else, and until when a leader may therefore act.

A voter refuses votes for its *window* after it heard a leader, and says with each acknowledgement how long that is. It
syncs the longest window that it ever promised before it promises it, and after a start, when it has forgotten whom it
heard when, it refuses for that long. So a leader that sent a round at `t`, and had it acknowledged, knows that this
voter elects nobody before `t` + window: the voter heard it after `t`. Clocks are never compared; only their rates must
be alike, and a tenth of the window is given away for that.

Each voter promises until a time of its own, and any majority that elects a rival shares a voter with any majority that
promised. So the leader is safe until the latest time that a majority promised (`quorum.promised_until`). This is never
earlier than "send time of the last round that a quorum acknowledged, plus the smallest window of that quorum", and
needs no search for it. The leader is one of its quorum, and answers for its own window, too: by no promise of others
does it lead for longer than another process of its own member would refuse after a start. For there may be one, on its
volume, while it stands still itself.

When that time, `quorum_until`, is over, the leader steps down: nobody leads or labels again in that term (check-quorum,
dissertation §6.2). `lease_until`, for reads from the leader alone (§6.4.1), is empty until a quorum acknowledged a
round of the term; and from the start of a transfer of leadership, whose votes pass the window, until a quorum
acknowledged a round sent after its end (`transfer`). After its own start a voter refuses forced votes, too.
"""

from raftq_k8s.raft.core import Core
from raftq_k8s.raft.messages import AppendResponse, SnapshotResponse
from raftq_k8s.raft.quorum import FOREVER, NEVER, promised_until
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import Index, Instant, MemberId, Milliseconds

DRIFT_ALLOWANCE = 0.9
"""Of a peer's window, what a leader relies on: two clocks may run a tenth apart."""


def heard_leader(core: Core, now: Instant) -> None:
    """A valid leader was heard: from here on a window is promised, which must be on disk before the promise leaves."""
    core.refuse_until = max(core.refuse_until, now + core.settings.window)
    core.restart_election_timer(now)
    if core.promised_window < core.settings.window:
        core.promised_window = core.settings.window
        core.change_hard_state()


def forget_nothing(core: Core, now: Instant) -> None:
    """After a start: refuse for as long as any promise of the former life may still hold."""
    core.refuse_all_until = core.refuse_until = now + max(core.promised_window, core.settings.window)
    core.restart_election_timer(now)


def window_left(core: Core, now: Instant) -> Milliseconds:
    """For how long this node elects nobody; 0 when it may. A leader answers for its own term."""
    until = quorum_until(core, core.role) if isinstance(core.role, Leader) else core.refuse_until
    return max(0.0, until - now)


def window_after_start(core: Core, now: Instant) -> Milliseconds:
    """For how long this node, which has forgotten what it promised, refuses forced votes, too."""
    return max(0.0, core.refuse_all_until - now)


def begin_round(core: Core, leader: Leader, now: Instant) -> None:
    leader.round += 1
    leader.rounds.append((leader.round, now))
    leader.next_round_at = now + core.settings.round_interval
    leader.news_at = FOREVER
    # A round that nobody could acknowledge any more within a window proves nothing worth keeping.
    while leader.rounds[0][1] < now - 8 * core.settings.maximum_election:
        leader.rounds.popleft()


def leader_answered(
    core: Core, response: AppendResponse | SnapshotResponse, claimed: Index, late: str, now: Instant
) -> Leader | None:
    """A peer answers a leader, and says that it has what the leader's log holds up to `claimed`. The leader whom that
    concerns, which has taken note of the promise in it; `None` where the answer came too late, which is counted as
    `late`, or from a later term, or no correct peer gives it."""
    if response.term > core.term:
        core.follow(response.term, None, now)
        return None
    leader = core.role
    if not isinstance(leader, Leader) or response.term < core.term:
        core.ignore(late)
        return None
    if response.round > leader.round or claimed > core.log.last_index:
        core.ignore("impossible")
        return None
    _acknowledged(core, leader, response.source, response.round, response.window, now)
    return leader


def _acknowledged(core: Core, leader: Leader, peer: MemberId, round_: int, window: Milliseconds, now: Instant) -> None:
    """The peer heard that round, and refuses votes for its window since then."""
    window = min(window, core.settings.window)
    heard_before = leader.heard.get(peer, 0)
    leader.heard[peer] = max(heard_before, round_)
    position = round_ - leader.rounds[0][0]
    if position >= 0:
        sent_at = leader.rounds[position][1]
        if round_ > heard_before:  # later answers of a round are to what followed on it
            leader.round_trips[peer] = now - sent_at
        until = sent_at + DRIFT_ALLOWANCE * window
        if until > leader.promises.get(peer, NEVER):
            leader.promises[peer] = until
            leader.counted_by = None
        if round_ > leader.lease_rounds_after:
            leader.lease_promises[peer] = max(leader.lease_promises.get(peer, NEVER), until)


def begin_anew(leader: Leader) -> None:
    """What peers promised so far did not hold against a transfer, which has ended: only later rounds count."""
    leader.lease_promises.clear()
    leader.lease_rounds_after = leader.round


def lease_until(core: Core, leader: Leader) -> Instant:
    """`NEVER` (minus infinity) in a transfer, and while no quorum has acknowledged a round since, or of this term."""
    if leader.transfer is not None:
        return NEVER
    return promised_until({**leader.lease_promises, core.me: FOREVER}, core.configuration)


def quorum_until(core: Core, leader: Leader) -> Instant:
    """Every door asks for it: it is counted anew only after a promise or the configuration changed."""
    if leader.counted_by is not core.configuration:
        leader.counted_by = core.configuration
        promised = promised_until({**leader.promises, core.me: FOREVER}, core.configuration)
        leader.quorum_until = max(leader.elected_at + core.settings.window, promised)
    return leader.quorum_until


def step_down_if_over(core: Core, now: Instant) -> None:
    """A leader that no quorum vouches for any more leads no longer, whatever else arrives at this moment."""
    if isinstance(core.role, Leader) and now >= quorum_until(core, core.role):
        core.follow(core.term, None, now)
