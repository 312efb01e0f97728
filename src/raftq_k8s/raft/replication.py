"""Replication: how a leader's log becomes everybody's, and when an entry is committed (paper §5.3 and §5.4.2).

Every append names the entry before its own, and a follower takes it only where that one matches: so two logs that agree
at one position agree up to it. A refusal carries a hint that skips a whole term, on both sides. A round goes out at
least every heartbeat, with an empty append that ends where the leader believes the peer to be: its answer renews the
lease, and its refusal uncovers what was lost on the way. A follower answers it at once, whatever its disk is doing:
what it acknowledges is only what is synced already.

A peer may need entries that are not in memory any more: they are loaded from the volume, for one append at a time. Or
entries that are not in the log any more: then it needs a snapshot (`snapshots`).
"""

from collections.abc import Sequence

from raftq_k8s.raft import lease, snapshots
from raftq_k8s.raft.core import Core
from raftq_k8s.raft.log import weight
from raftq_k8s.raft.messages import AppendEntries, AppendResponse, Entry, EntryKind
from raftq_k8s.raft.output import EntriesWanted
from raftq_k8s.raft.progress import Pace, Progress
from raftq_k8s.raft.quorum import FOREVER, committed_index
from raftq_k8s.raft.roles import Leader
from raftq_k8s.raft.types import NO_INDEX, NO_TERM, Index, Instant, MemberId, Milliseconds, Term

COMMIT_NEWS: Milliseconds = 5.0
"""So soon after a commit, and not with the next heartbeat only, the followers hear of it: people read from them. Under
load the next append says it, and no message is sent for it."""

# -------------------------------------------------------------------------------------------------------------- leaders


def send_round(core: Core, leader: Leader, now: Instant) -> None:
    """Be heard by everybody, and bring along what they lack."""
    lease.begin_round(core, leader, now)
    for peer in core.peers:
        asked = replicate(core, leader, peer)
        if not (asked and leader.progress[peer].pace is Pace.PROBE):
            _send(core, leader, peer, ())
        snapshots.send_again_if_lost(core, leader, peer, now)


def send_round_if_due(core: Core, now: Instant) -> None:
    if isinstance(core.role, Leader) and now >= min(core.role.next_round_at, core.role.news_at):
        send_round(core, core.role, now)


def replicate(core: Core, leader: Leader, peer: MemberId) -> bool:
    """Send that peer what it lacks, as far as its window reaches. Returns whether anything was sent."""
    progress = leader.progress[peer]
    if progress.next <= core.log.base:
        snapshots.begin(core, leader, peer)
    sent = False
    while progress.may_send and progress.next <= core.log.last_index:
        if progress.next < core.log.oldest:
            _fetch(core, progress)
            break
        entries = core.log.slice(progress.next, min(core.settings.max_append_bytes, progress.room))
        _send_entries(core, leader, peer, entries)
        sent = True
    return sent


def _fetch(core: Core, progress: Progress) -> None:
    """What that peer lacks is not in memory."""
    if progress.loading is None:
        room = min(core.settings.max_append_bytes, progress.room)
        progress.loading = EntriesWanted(progress.next, Index(core.log.oldest - 1), room)
        core.want_entries(progress.loading)


def send_loaded(core: Core, wanted: EntriesWanted, entries: tuple[Entry, ...]) -> None:
    """Entries were loaded for whoever lacks them. None were where they are not in the log any more: then the next round
    finds out what the peer is to be sent instead."""
    leader = core.role
    if not isinstance(leader, Leader):
        return
    for peer, progress in leader.progress.items():
        if progress.loading == wanted:
            progress.loading = None
            if entries and progress.next == wanted.first:
                _send_entries(core, leader, peer, entries)
            if entries:
                replicate(core, leader, peer)


def _send_entries(core: Core, leader: Leader, peer: MemberId, entries: tuple[Entry, ...]) -> None:
    _send(core, leader, peer, entries)
    leader.progress[peer].sent(entries[-1].index, weight(entries))


def _send(core: Core, leader: Leader, peer: MemberId, entries: tuple[Entry, ...]) -> None:
    previous = Index(leader.progress[peer].next - 1)
    previous_term = core.log.term_at(previous)
    assert previous_term is not None  # nothing past the leader's own end was ever sent or acknowledged
    core.send(
        AppendEntries(
            core.me,
            peer,
            core.term,
            leader.round,
            previous,
            previous_term,
            core.commit,
            entries,
            core.cancelled_in_this_term,
        )
    )


def append_commands(core: Core, leader: Leader, commands: Sequence[bytes]) -> Index:
    """Put a batch of commands into the leader's log and send it on. Returns the index of the first."""
    first = Index(core.log.last_index + 1)
    core.log.append(
        [Entry(Index(first + offset), core.term, EntryKind.COMMAND, command) for offset, command in enumerate(commands)]
    )
    leader.uncommitted_bytes += sum(map(len, commands))
    leader.news_at = FOREVER
    for peer in core.peers:
        replicate(core, leader, peer)
    return first


def on_append_response(core: Core, response: AppendResponse, now: Instant) -> None:
    claimed = response.index if response.success else NO_INDEX
    leader = lease.leader_answered(core, response, claimed, "late-append-response", now)
    if leader is None:
        return
    progress = leader.progress[response.source]
    if response.success:
        progress.acknowledged(response.index)
        commit_if_held(core, now)
    elif progress.pace is not Pace.SNAPSHOT:  # where it only says that the snapshot is still needed
        agreed, _ = core.log.last_possible_match(response.hint_index, response.hint_term)
        agreed = min(agreed, response.hint_index, Index(max(response.index - 1, NO_INDEX)))
        if not progress.refused(response.index, agreed):
            core.ignore("late-append-response")
    replicate(core, leader, response.source)


def go_on(core: Core, peer: MemberId, now: Instant) -> None:
    """That peer may hold more than before."""
    if isinstance(core.role, Leader):
        commit_if_held(core, now)
        replicate(core, core.role, peer)


def commit_if_held(core: Core, now: Instant) -> None:
    """Advance the commit index to what a majority holds. Entries of older terms are never counted, only carried along
    by one of this term: a later leader could still overwrite them, wherever they are (§5.4.2, figure 8)."""
    leader = core.role
    if not isinstance(leader, Leader) or core.commit == core.log.last_index:
        return
    held = {peer: progress.match for peer, progress in leader.progress.items()}
    index = committed_index({**held, core.me: core.log.stable}, core.configuration)
    if index > core.commit and core.log.term_at(index) == core.term:
        leader.uncommitted_bytes -= sum(
            len(entry.command) for entry in core.log.between(max(Index(core.commit + 1), leader.first_index), index)
        )
        core.commit = index
        leader.news_at = min(leader.news_at, now + COMMIT_NEWS)


# ------------------------------------------------------------------------------------------------------------ followers


def on_append_entries(core: Core, append: AppendEntries, now: Instant) -> None:
    if append.term < core.term:
        # An old leader, or one that cannot be elected again because this node's term ran ahead: the answer tells it.
        _refuse(core, append, NO_INDEX, NO_TERM)
        return
    if append.term == core.term and isinstance(core.role, Leader):
        core.ignore("impossible")
        return
    core.follow(append.term, append.source, now)
    core.note_cancelled(append.term, append.cancelled)
    lease.heard_leader(core, now)

    if not core.log.matches(append.previous_index, append.previous_term):
        hint_index, hint_term = core.log.last_possible_match(append.previous_index, append.previous_term)
        _refuse(core, append, hint_index, hint_term)
        return
    known = core.log.first_conflict(append.entries)
    news = append.entries[known:]
    if news and news[0].index <= core.commit:
        core.ignore("impossible")
        return
    if news:
        core.take_entries(news)
    agreed = Index(append.previous_index + len(append.entries))
    core.commit = max(core.commit, min(append.commit, agreed))
    _acknowledge(core, append, agreed)


def _acknowledge(core: Core, append: AppendEntries, agreed: Index) -> None:
    """Acknowledge what is synced. When more is on its way to the disk, that follows when it has arrived."""
    if append.entries and agreed > core.log.stable:
        core.send_after_writes(_success(core, append, agreed))
    else:
        core.send(_success(core, append, min(agreed, core.log.stable)))


def _success(core: Core, append: AppendEntries, index: Index) -> AppendResponse:
    return AppendResponse(
        core.me, append.source, core.term, append.round, True, index, NO_INDEX, NO_TERM, core.settings.window
    )


def _refuse(core: Core, append: AppendEntries, hint_index: Index, hint_term: Term) -> None:
    # An append of an earlier term was no leader's that this voter follows: it promises nothing, and acknowledges no
    # round. Its number would be taken for one of the term in the answer, if its sender leads that too.
    window, round_ = (core.settings.window, append.round) if append.term == core.term else (0.0, 0)
    core.send(
        AppendResponse(
            core.me,
            append.source,
            core.term,
            round_,
            False,
            append.previous_index,
            hint_index,
            hint_term,
            window,
        )
    )
