"""A volume that is full lives on its reserve; when that is gone, or the disk is broken, nothing more is taken."""

import errno
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from volume_contents import MEMBER, VOTED, entries, log, restored

from faulty_disk import FaultyDisk
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import Write
from raftq_k8s.raft.types import Index, Term
from raftq_k8s.storage import reserve, sqlite
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import NoRoom, VolumeUnusable, WriteFailed

RESERVE = 1 << 20


@contextmanager
def opened(directory: Path, told: Callable[[bool], None] = lambda full: None) -> Iterator[SqliteVolume]:
    with closing(SqliteVolume(directory, MEMBER, reserve_bytes=RESERVE)) as volume:
        volume.open()
        volume.watch_room(told)
        yield volume


def of_size(index: int, size: int) -> Write:
    return Write(entries=(Entry(Index(index), Term(1), EntryKind.COMMAND, b"x" * size),))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> FaultyDisk:
    monkeypatch.setattr(sqlite, "REFILL_EVERY_S", 0.01)
    return FaultyDisk(monkeypatch)


def test_53_a_full_volume_goes_on_on_its_reserve_and_says_so(tmp_path: Path, disk: FaultyDisk) -> None:
    told: list[bool] = []
    with opened(tmp_path, told.append) as volume:
        volume.write(log(1, 3)).result(timeout=10)
        disk.room_bytes = 10_000
        volume.write(of_size(4, 20_000)).result(timeout=10)
        volume.write(Write(hard_state=VOTED)).result(timeout=10)
        until(lambda: told == [False, True])
        assert not (tmp_path / reserve.FILE).exists()
    found = restored(tmp_path)
    assert (found.hard_state, found.entries[:3]) == (VOTED, [*entries(1, 3)])
    assert len(found.entries) == 4


def test_with_room_again_the_reserve_is_made_again(tmp_path: Path, disk: FaultyDisk) -> None:
    told: list[bool] = []
    with opened(tmp_path, told.append) as volume:
        disk.room_bytes = 0
        volume.write(log(1, 1)).result(timeout=10)
        until(lambda: told == [False, True])
        disk.room_bytes = 2 * RESERVE
        until(lambda: told == [False, True, False])
        assert (tmp_path / reserve.FILE).stat().st_size == RESERVE


def test_the_room_of_the_reserve_alone_is_no_room_again(tmp_path: Path, disk: FaultyDisk) -> None:
    told: list[bool] = []
    with opened(tmp_path, told.append) as volume:
        disk.room_bytes = 0
        volume.write(log(1, 1)).result(timeout=10)
        until(lambda: told == [False, True])
        volume.write(log(2, 2)).result(timeout=10)
        assert not (tmp_path / reserve.FILE).exists()
        assert told == [False, True]


def test_53_when_the_reserve_is_gone_nothing_more_is_taken_and_nothing_is_lost(
    tmp_path: Path, disk: FaultyDisk
) -> None:
    with opened(tmp_path) as volume:
        disk.room_bytes = 0
        volume.write(log(1, 3)).result(timeout=10)
        with pytest.raises(NoRoom, match="so is its reserve: make room"):
            volume.write(of_size(4, 2 * RESERVE)).result(timeout=10)
        with pytest.raises(NoRoom):
            volume.write(log(4, 4)).result(timeout=10)
    disk.room_bytes = 10 * RESERVE
    assert restored(tmp_path).entries == [*entries(1, 3)]


def test_a_volume_without_room_for_a_reserve_is_full_from_the_start(tmp_path: Path, disk: FaultyDisk) -> None:
    disk.room_bytes = RESERVE // 2
    told: list[bool] = []
    with opened(tmp_path, told.append) as volume:
        volume.write(log(1, 1)).result(timeout=10)
        assert told == [True]


def test_a_volume_without_any_room_is_not_opened_and_says_why(tmp_path: Path, disk: FaultyDisk) -> None:
    disk.room_bytes = 0
    with pytest.raises(VolumeUnusable, match="is full: make room"), opened(tmp_path):
        pass


@pytest.mark.parametrize("fault", ["broken", "read_only"])
def test_53_any_other_error_is_final_at_once_whatever_is_in_the_reserve(
    tmp_path: Path, disk: FaultyDisk, fault: str
) -> None:
    with opened(tmp_path) as volume:
        volume.write(log(1, 3)).result(timeout=10)
        setattr(disk, fault, True)
        with pytest.raises(WriteFailed, match="did not take a write"):
            volume.write(log(4, 4)).result(timeout=10)
        setattr(disk, fault, False)
        with pytest.raises(WriteFailed):
            volume.write(log(4, 4)).result(timeout=10)
        assert (tmp_path / reserve.FILE).exists()
    assert restored(tmp_path).entries == [*entries(1, 3)]


def test_53_on_a_slow_disk_nothing_is_called_written_before_it_is(tmp_path: Path, disk: FaultyDisk) -> None:
    with opened(tmp_path) as volume:
        disk.stall()
        futures = [volume.write(log(index, index)) for index in range(1, 9)]
        time.sleep(0.05)
        assert not any(future.done() for future in futures)
        disk.go_on()
        for future in futures:
            future.result(timeout=10)


def test_where_blocks_cannot_be_taken_at_once_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unsupported(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    with opened(tmp_path):
        found = (tmp_path / reserve.FILE).stat()
        assert (found.st_size, found.st_blocks * 512 >= RESERVE) == (RESERVE, True)


ON_A_REAL_ONE = textwrap.dedent("""
    import os, sys
    from pathlib import Path
    from volume_contents import MEMBER, VOTED, log
    from raftq_k8s.raft.messages import Entry, EntryKind
    from raftq_k8s.raft.persistence import Write
    from raftq_k8s.raft.types import Index, Term
    from raftq_k8s.storage.sqlite import SqliteVolume
    from raftq_k8s.storage.volume import NoRoom

    directory, told = Path(sys.argv[1]), []
    volume = SqliteVolume(directory, MEMBER, reserve_bytes=1 << 20)
    volume.open()
    volume.watch_room(told.append)
    ballast = directory / "ballast"
    left = os.statvfs(directory)
    ballast.write_bytes(bytes(left.f_bavail * left.f_frsize))
    index = 0
    while True not in told:
        index += 1
        volume.write(Write(entries=(Entry(Index(index), Term(1), EntryKind.COMMAND, b"x" * 3000),))).result(timeout=10)
    volume.write(Write(hard_state=VOTED)).result(timeout=10)
    ballast.unlink()
    while told[-1]:
        volume.write(Write(hard_state=VOTED)).result(timeout=10)
    left = os.statvfs(directory)
    ballast.write_bytes(bytes(left.f_bavail * left.f_frsize))
    kept = index
    try:
        while True:
            kept += 1
            write = Write(entries=(Entry(Index(kept), Term(1), EntryKind.COMMAND, b"x" * 30000),))
            volume.write(write).result(timeout=10)
    except NoRoom:
        kept -= 1
    volume.close()
    ballast.unlink()
    found = SqliteVolume(directory, MEMBER, reserve_bytes=1 << 20).open()
    assert (found.entries[-1].index, found.hard_state) == (kept, VOTED), found
    print("told", told)
""")


def test_53_on_a_real_file_system_that_is_full(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ON_A_REAL_ONE)
    mounted = f"mount -t tmpfs -o size=12m tmpfs {tmp_path}/small && exec {sys.executable} {script} {tmp_path}/small"
    (tmp_path / "small").mkdir()
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody mount a small file system")
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    ran = subprocess.run(
        ["unshare", "-Urm", "sh", "-c", mounted],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (ran.returncode, ran.stdout) == (0, "told [False, True, False, True]\n"), ran.stderr
