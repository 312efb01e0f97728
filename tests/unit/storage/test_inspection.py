"""A volume at rest is looked at without changing it, and all that is wrong with it is told."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from volume_contents import BIRTH, MEMBER, VOTED, compacted, log, mark, part, restored, write

from faulty_disk import corrupt, tear_tail
from raftq_k8s.raft.persistence import Write
from raftq_k8s.storage import schema, watermark
from raftq_k8s.storage.inspection import inspect
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import VolumeUnusable


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """As a kill leaves it: what was written last is beside the database still."""
    directory = tmp_path / "volume"
    directory.mkdir()
    write(directory, Write(birth=BIRTH, hard_state=VOTED), log(1, 3), log(4, 8))
    snapshot = (part(6, 0, b"abc"), part(6, 3, b"defg"), Write(seal=mark(6, b"abcdefg")))
    killed = SqliteVolume(directory, MEMBER)
    killed.open()
    for each in (*snapshot, compacted(5), log(9, 12, 2)):
        killed.write(each).result(timeout=10)
    copy = tmp_path / "killed"
    copy.mkdir()
    for file in directory.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    killed.close()
    return copy


def contents(directory: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in directory.iterdir()}


def test_a_sound_volume_is_told_and_not_touched(volume: Path) -> None:
    before = contents(volume)
    report = inspect(volume)
    assert report.problems == []
    assert (report.member, report.generation, report.cluster) == (MEMBER, 2, BIRTH.cluster)
    assert (report.term, report.vote) == (VOTED.term, VOTED.vote)
    assert (report.base_index, report.last_index, report.last_term) == (5, 12, 2)
    assert (report.snapshot_index, report.snapshot_bytes) == (6, 7)
    assert report.membership is not None
    assert report.membership.voters == BIRTH.members
    assert contents(volume) == before
    assert restored(volume).generation == 3


def test_a_torn_tail_is_told_with_what_is_left(volume: Path) -> None:
    tear_tail(volume, 9_000)
    report = inspect(volume)
    assert any("lost what was on stable storage" in problem for problem in report.problems)
    assert report.last_index < 12
    assert report.member == MEMBER


def test_everything_that_is_wrong_is_told_not_only_the_first(volume: Path) -> None:
    restored(volume)  # and so folded into the database
    with closing(schema.connect(volume / schema.FILE)) as connection:
        connection.execute("UPDATE hard_state SET state = zeroblob(length(state))")
        connection.execute("UPDATE parts SET data = x'00' WHERE offset = 3")
        connection.execute("UPDATE entries SET batch = batch + 1 WHERE first = 9")
    (volume / watermark.FILE).unlink()
    report = inspect(volume)
    assert [problem.split(",")[0] for problem in report.problems] == [
        "raftq.mark is gone",
        "its term and vote does not match its checksum",
        "its snapshot at index 6 does not match its checksum",
        "its log after index 8 does not match its checksum",
    ]
    assert (report.term, report.last_index, report.cluster) == (None, 8, BIRTH.cluster)


@pytest.mark.parametrize("at", [0, 100, 8190])
def test_a_damaged_database_is_told_and_never_raises(volume: Path, at: int) -> None:
    restored(volume)
    corrupt(volume, at)
    assert not inspect(volume).sound


def test_a_database_that_is_gone_is_told(volume: Path) -> None:
    (volume / schema.FILE).unlink()
    assert "is gone" in inspect(volume).problems[0]


def test_a_volume_that_was_never_used_is_blank(tmp_path: Path) -> None:
    report = inspect(tmp_path)
    assert (report.blank, report.sound, report.member) == (True, True, None)


def test_a_volume_in_use_is_refused(tmp_path: Path) -> None:
    with closing(SqliteVolume(tmp_path, MEMBER)) as volume:
        volume.open()
        look = "import sys; from pathlib import Path; from raftq_k8s.storage.inspection import inspect; "
        command = [sys.executable, "-c", f"{look}inspect(Path(sys.argv[1]))", str(tmp_path)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert "VolumeUnusable" in ran.stderr
        assert "held by a process" in ran.stderr
        volume.write(log(1, 1)).result(timeout=10)


def test_a_volume_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VolumeUnusable, match="does not exist"):
        inspect(tmp_path / "nothing")
