"""`raftq snapshot show` and `restore`, on files and on a volume at rest."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from raftq_k8s.agent.before_the_start import Recovered, recovery_of
from raftq_k8s.cli import snapshot_files
from raftq_k8s.node import recovery
from raftq_k8s.node.snapshot_file import Heading
from raftq_k8s.raft.recovery import TERMS_PASSED
from raftq_k8s.raft.types import ClusterId, Index, MemberId, Term
from raftq_k8s.state.commands import Replace, encode
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.storage.sqlite import SqliteVolume

HEADING = Heading(ClusterId("old"), Index(70), Term(5))


def state() -> StateMachine:
    made = StateMachine()
    made.apply(HEADING.index, encode(Replace(b'{"colour":"blue","size":3}')))
    return made


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    file = tmp_path / "saved.raftq"
    file.write_bytes(HEADING.line() + b"".join(state().freeze().parts(1000)))
    return file


def test_a_file_is_shown(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert snapshot_files.show(saved, document=False, as_json=False) == 0
    said = capsys.readouterr().out
    assert "is a sound snapshot" in said
    assert "index 70, term 5" in said
    assert "2 keys" in said


def test_its_document_can_be_had_alone(saved: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert snapshot_files.show(saved, document=True, as_json=False) == 0
    assert json.loads(capfdbinary.readouterr().out) == {"colour": "blue", "size": 3}


def test_a_damaged_file_is_refused(saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved.write_bytes(saved.read_bytes()[:-3])
    assert snapshot_files.show(saved, document=False, as_json=False) == 1
    assert snapshot_files.restore(saved, tmp_path / "data", "raftq-0", as_json=False) == 1
    assert not (tmp_path / "data").exists()
    assert snapshot_files.show(tmp_path / "none", document=False, as_json=False) == 2


def test_a_restored_one_is_a_volume_that_is_shown_too(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    assert snapshot_files.restore(saved, data, "raftq-0", as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["member"], told["term"]) == ("raftq-0", HEADING.term + TERMS_PASSED)
    assert recovery_of(data) == Recovered(told["cluster"], out_of=HEADING.cluster), "the witness of births hears of it"

    assert snapshot_files.show(data, document=False, as_json=True) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["cluster"], shown["keys"], shown["revision"]) == (told["cluster"], 2, 70)


def test_no_volume_is_made_for_a_name_with_which_no_agent_starts(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert snapshot_files.restore(saved, tmp_path / "data", "raftq", as_json=False) == 2
    assert "does not end in an ordinal" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_nothing_is_restored_over_a_volume_that_was_used(
    saved: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    recovery.begin(SqliteVolume(data, MemberId("raftq-0")), HEADING, state(), ClusterId("here"))
    assert snapshot_files.restore(saved, data, "raftq-0", as_json=False) == 2
    assert "name an empty folder" in capsys.readouterr().err
    with closing(SqliteVolume(data, MemberId("raftq-0"))) as volume:
        birth = volume.open().birth
    assert birth is not None
    assert birth.cluster == "here"
