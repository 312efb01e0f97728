"""A volume becomes that of a new cluster of one, with all that it holds, or stays what it was."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_time import clock, until

from raftq_k8s import Raftq, RaftqOptions
from raftq_k8s.node.recovery import begin, recover
from raftq_k8s.node.snapshot_file import Heading, SnapshotFile, read
from raftq_k8s.node.snapshots import SnapshotBounds
from raftq_k8s.raft.recovery import INDICES_PASSED, TERMS_PASSED, NotRecoverable
from raftq_k8s.raft.types import ClusterId, Index, MemberId, Term
from raftq_k8s.state.commands import Applied, Put, Replace, encode
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.state.snapshot import SnapshotDamaged
from raftq_k8s.storage.memory import MemoryVolume
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import Volume

OLD, NEW = ClusterId("old"), ClusterId("new")
ME = MemberId("a")
OFTEN = SnapshotBounds(after_bytes=1, after_entries=20, slice_bytes=64)


async def started(volume: Volume, **options: bool) -> Raftq:
    raft = Raftq(RaftqOptions(**options), volume=volume, clock=clock, snapshots=OFTEN)
    await raft.dispatch("serviceStarted", {"node": {"id": ME, "time": 1}})
    await until(lambda: raft.standing().established)
    return raft


async def written(volume: Volume, keys: int) -> tuple[ClusterId, int, int]:
    """A node that has led a cluster: the cluster's id, the last revision and the term."""
    raft = await started(volume, bootstrap=True)
    revision = 0
    for number in range(keys):
        result = await raft.submit(Put(f"k{number % 50}", b"%d" % number), 5)
        assert isinstance(result, Applied)
        revision = result.revision
    cluster, term = raft.status().cluster, raft.standing().term
    await raft.destroy()
    assert cluster is not None
    return cluster, revision, term


@pytest.fixture(params=["memory", "sqlite"])
def reopened(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Volume]:
    """The same volume, as another process would open it."""
    memory = MemoryVolume(ME)
    return (lambda: memory) if request.param == "memory" else (lambda: SqliteVolume(tmp_path, ME))


async def recovered(volume: Volume, old: ClusterId, new: ClusterId) -> object:
    return await asyncio.to_thread(recover, volume, old, new)


@pytest.mark.parametrize("keys", [3, 130])
async def test_a_survivor_goes_on_alone_with_its_document_above_every_term_and_revision(
    reopened: Callable[[], Volume], keys: int
) -> None:
    old, revision, term = await written(reopened(), keys)
    await recovered(reopened(), old, NEW)
    raft = await started(reopened())
    assert (raft.status().cluster, raft.status().voters) == (NEW, (ME,))
    assert raft.standing().term > term + TERMS_PASSED
    assert raft.get_data() == {f"k{n % 50}": n for n in range(keys)}
    result = await raft.submit(Put("k0", b"0"), 5)
    assert isinstance(result, Applied)
    assert result.revision > revision + INDICES_PASSED
    await raft.destroy()


async def test_another_cluster_than_the_one_named_is_left_as_it_is(reopened: Callable[[], Volume]) -> None:
    old, _, term = await written(reopened(), 3)
    with pytest.raises(NotRecoverable, match=f"belongs to cluster {old}, not to other"):
        await recovered(reopened(), ClusterId("other"), NEW)
    raft = await started(reopened())
    assert (raft.status().cluster, raft.standing().term) == (old, term + 1)
    await raft.destroy()


def snapshot(heading: Heading, document: bytes) -> bytes:
    state = StateMachine()
    state.apply(heading.index, encode(Replace(document)))
    return heading.line() + b"".join(state.freeze().parts(100))


HEADING = Heading(OLD, Index(70), Term(5))


async def test_a_snapshot_file_begins_a_new_cluster_above_what_it_was_taken_at(
    reopened: Callable[[], Volume], tmp_path: Path
) -> None:
    file = tmp_path / "saved"
    file.write_bytes(snapshot(HEADING, b'{"colour":"blue"}'))
    heading, state = read(file)
    assert heading == HEADING
    await asyncio.to_thread(begin, reopened(), heading, state, NEW)
    raft = await started(reopened())
    assert (raft.status().cluster, raft.get_data()) == (NEW, {"colour": "blue"})
    assert raft.standing().term > HEADING.term + TERMS_PASSED
    assert raft.document.get("colour") == (b'"blue"', 70)
    await raft.destroy()


async def test_a_snapshot_is_not_restored_over_what_is_there(reopened: Callable[[], Volume]) -> None:
    old, _, _ = await written(reopened(), 3)
    with pytest.raises(NotRecoverable, match="name an empty folder"):
        await asyncio.to_thread(begin, reopened(), HEADING, StateMachine(), NEW)
    raft = await started(reopened())
    assert raft.status().cluster == old
    await raft.destroy()


def test_a_file_that_is_cut_short_or_changed_or_none_at_all_is_refused(tmp_path: Path) -> None:
    whole = snapshot(HEADING, b'{"colour":"blue"}')
    changed = whole.replace(b"blue", b"cyan")
    for content in (b"", whole[:10], whole[:-1], changed, b'{"colour":"blue"}', b"raftq-snapshot 1 {}\n"):
        (tmp_path / "saved").write_bytes(content)
        with pytest.raises(SnapshotDamaged):
            read(tmp_path / "saved")


def test_the_first_line_is_for_people_too() -> None:
    assert HEADING.line() == b'raftq-snapshot 1 {"cluster":"old","index":70,"term":5}\n'
    assert SnapshotFile(io.BytesIO(HEADING.line())).heading == HEADING
