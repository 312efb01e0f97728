"""`raftq storage check` says what is on a volume, and whether a node would start on it."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from raftq_k8s.cli.commands import run
from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage import watermark
from raftq_k8s.storage.sqlite import SqliteVolume


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    with closing(SqliteVolume(tmp_path, MemberId("raftq-0"))) as opened:
        opened.open()
    return tmp_path


def test_a_sound_one(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["storage", "check", str(volume)]) == 0
    said = capsys.readouterr().out
    assert "is sound" in said
    assert "raftq-0, incarnation" in said


def test_a_damaged_one(volume: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (volume / watermark.FILE).unlink()
    assert run(["storage", "check", str(volume), "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["sound"], said["member"]) == (False, "raftq-0")
    assert "raftq.mark is gone" in said["problems"][0]


def test_none_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["storage", "check", str(tmp_path / "nothing")]) == 2
    assert "does not exist" in capsys.readouterr().err
