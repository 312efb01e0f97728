"""A volume that is given up moves as a whole, also where a crash cuts the move short, and nothing of it is lost."""

import shutil
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from volume_contents import BIRTH, MEMBER, VOTED, entries, log, restored, write

from raftq_k8s.raft.persistence import Write
from raftq_k8s.storage import archive, schema, watermark
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import VolumeUnusable


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    write(tmp_path, Write(birth=BIRTH, hard_state=VOTED), log(1, 9))
    return tmp_path


def test_what_is_left_is_blank_and_what_moved_is_whole(volume: Path) -> None:
    former = restored(volume)
    folder = archive.move(volume, "i0-removed")
    assert folder == volume / "archive" / "i0-removed"
    fresh, kept = restored(volume), restored(folder)
    assert (fresh.birth, fresh.generation) == (None, 1)
    assert fresh.incarnation != former.incarnation
    assert (kept.incarnation, kept.birth, kept.entries) == (former.incarnation, BIRTH, former.entries)


@pytest.mark.parametrize("give_up", [archive.move, archive.copy])
def test_what_a_killed_process_left_in_the_write_ahead_log_is_archived_too(
    tmp_path: Path, give_up: Callable[[Path, str], Path]
) -> None:
    running, left = tmp_path / "running", tmp_path / "left"
    running.mkdir()
    volume = SqliteVolume(running, MEMBER)
    with closing(volume):
        volume.open()
        volume.write(log(1, 9)).result()
        shutil.copytree(running, left)
    assert (left / f"{schema.FILE}-wal").stat().st_size > 0
    assert restored(give_up(left, "killed")).entries == [*entries(1, 9)]


def test_one_that_moves_under_the_same_name_takes_nobodys_place(volume: Path) -> None:
    first = archive.move(volume, "given-up")
    restored(volume)
    assert archive.move(volume, "given-up").name == "given-up-2"
    assert restored(first).birth == BIRTH


@pytest.mark.parametrize("moved", range(4))
def test_a_move_that_a_crash_has_cut_short_is_ended_by_the_next_start(
    volume: Path, monkeypatch: pytest.MonkeyPatch, moved: int
) -> None:
    names = [schema.FILE, watermark.FILE]
    replaced: list[str] = []
    replace = Path.replace

    def crashing(source: Path, target: Path) -> Path:
        if source.name in names:
            if len(replaced) == moved:
                raise KeyboardInterrupt
            replaced.append(source.name)
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", crashing)
    if moved < len(names):
        with pytest.raises(KeyboardInterrupt):
            archive.move(volume, "i0-removed")
        monkeypatch.undo()
        assert archive.finish(volume) == volume / "archive" / "i0-removed"
    else:
        archive.move(volume, "i0-removed")
    assert archive.finish(volume) is None
    assert restored(volume / "archive" / "i0-removed").birth == BIRTH
    assert restored(volume).birth is None


def test_a_copy_leaves_the_volume_as_it_is(volume: Path) -> None:
    former = restored(volume)
    folder = archive.copy(volume, "c1-before-recovery")
    assert restored(folder).entries == former.entries
    assert restored(volume).incarnation == former.incarnation


def test_one_that_cannot_be_archived_is_left_and_it_is_said(volume: Path) -> None:
    (volume / archive.FOLDER).write_text("no folder")
    with pytest.raises(VolumeUnusable, match="cannot be archived"):
        archive.copy(volume, "any")
    assert restored(volume).birth == BIRTH
