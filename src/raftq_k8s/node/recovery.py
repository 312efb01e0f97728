"""How a volume becomes that of a new cluster of one member: out of what it holds, or out of a snapshot file.

The node does not run meanwhile. All that its log holds is applied to a state, as a leader of one would commit it, and
written down as the first snapshot of the new cluster (`raft/recovery.py` says where that stands, and why). The last
write is the only one that counts: before it the volume is what it was, after it the new one.
"""

from collections.abc import Iterator
from contextlib import closing
from zlib import crc32

import msgspec

from raftq_k8s.node.snapshot_file import Heading
from raftq_k8s.raft.membership import Member
from raftq_k8s.raft.messages import EntryKind
from raftq_k8s.raft.persistence import Restored, SnapshotPart, Write
from raftq_k8s.raft.recovery import Beginning, NotRecoverable, begun_with, recovered
from raftq_k8s.raft.types import NO_INDEX, ClusterId, Index, Term
from raftq_k8s.state.document import UnreadableCommand
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import SnapshotDamaged
from raftq_k8s.storage.volume import Volume

_AT_ONCE_BYTES = 1 << 20
_SLICE_BYTES = 1 << 16


class Begun(msgspec.Struct, frozen=True):
    """A cluster that has one member now."""

    cluster: ClusterId
    term: Term
    index: Index
    """What was written before is at or below it."""


def recover(volume: Volume, old: ClusterId, new: ClusterId) -> Begun:
    """A member of the cluster `old`, of which the majority is lost, goes on alone as `new`. Blocks.

    Raises `NotRecoverable`, `VolumeUnusable` or `WriteFailed`; the volume is what it was then.
    """
    with closing(volume):
        restored = volume.open()
        beginning = recovered(restored, old, new)
        return _begin(volume, beginning, state_of(volume, restored))


def state_of(volume: Volume, restored: Restored) -> StateMachine:
    """What an open volume holds, whether it was committed or not: that, nobody can tell from one volume. Raises
    `NotRecoverable`."""
    state = StateMachine()
    try:
        _install(volume, restored, state)
        _apply(volume, restored, state)
    except (SnapshotDamaged, UnreadableCommand) as error:
        raise NotRecoverable(f"what the volume of {restored.member} holds cannot be read: {error}") from error
    return state


def begin(volume: Volume, heading: Heading, state: StateMachine, cluster: ClusterId) -> Begun:
    """A blank volume becomes the first member of a cluster that begins with that state, out of a snapshot file. Blocks.

    Raises `NotRecoverable`, `VolumeUnusable` or `WriteFailed`.
    """
    with closing(volume):
        restored = volume.open()
        if restored.birth is not None:
            raise NotRecoverable(
                f"the volume of {restored.member} belongs to cluster {restored.birth.cluster}: name an empty folder"
            )
        alone = Member(restored.member, restored.incarnation)
        return _begin(volume, begun_with(alone, cluster, heading.index, heading.term), state)


def _install(volume: Volume, restored: Restored, state: StateMachine) -> None:
    mark = restored.snapshot
    if mark is None:
        return
    restoring = state.restoring()
    offset = 0
    while offset < mark.size:
        data = volume.read_snapshot(mark.index, offset, _AT_ONCE_BYTES).result()
        if not data:
            break  # it is too short, which is found below
        restoring.feed(data)
        offset += len(data)
    state.install(restoring)


def _apply(volume: Volume, restored: Restored, state: StateMachine) -> None:
    index = restored.snapshot.index if restored.snapshot is not None else NO_INDEX
    last = restored.entries[-1].index if restored.entries else restored.base
    while index < last:
        entries = volume.load(Index(index + 1), last, _AT_ONCE_BYTES).result()
        for entry in entries:
            if entry.kind == EntryKind.COMMAND:
                state.apply(entry.index, entry.command)
        index = entries[-1].index


def _begin(volume: Volume, beginning: Beginning, state: StateMachine) -> Begun:
    state.document.applied_index = beginning.index
    size, checksum = 0, 0
    for data in _slices(state):
        volume.write(Write(part=SnapshotPart(beginning.index, size, data))).result()
        size, checksum = size + len(data), crc32(data, checksum)
    volume.write(beginning.write(size, checksum)).result()
    return Begun(beginning.birth.cluster, beginning.birth.first_term, beginning.index)


def _slices(state: StateMachine) -> Iterator[bytes]:
    return state.freeze().parts(_SLICE_BYTES)
