"""`raftq simulate --replay` of a trace: what it prints, and its exit code."""

import json
from pathlib import Path

import pytest

from raftq_k8s.cli.commands import run
from raftq_k8s.node.given import Node
from raftq_k8s.node.recording import RecordedDriver
from raftq_k8s.raft import roles
from raftq_k8s.raft.birth import lowest
from raftq_k8s.raft.membership import BirthRecord, Member
from raftq_k8s.raft.persistence import HardState, Restored
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, MemberId, Term
from raftq_k8s.state.machine import StateMachine


@pytest.fixture
def trace(tmp_path: Path) -> str:
    """Of a lone node that is elected and killed."""
    name, volume = MemberId("raftq-0"), Incarnation("volume")
    record = BirthRecord(ClusterId("cluster"), (Member(name, volume),), Term(1))
    restored = Restored(name, volume, Generation(1), record, HardState(), [])
    node = Node(restored, BootId("boot"), lowest((name,)), ClusterId("cluster"), Settings(), 1, "", 10_000)
    driver = RecordedDriver(node, StateMachine(), lambda _: False, 1000.0, tmp_path / "trace")
    while not driver.standing.established:
        now = driver.wake_at
        driver.tick(now)
        while (actions := driver.next_actions(now)) is not None:
            for written, _ in actions.writes:
                driver.persisted(written, now)
    return str(tmp_path / "trace")


def test_a_life_is_told_and_is_the_same_again(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--replay", trace]) == 0
    told = capsys.readouterr().out
    assert "leader in term 1, raftq-0 leads, established" in told
    assert "committed up to 1" in told
    assert "every output is the same; the process died there" in told


def test_a_difference_is_told_with_its_call(
    trace: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(roles.ROLE_NAMES, roles.Leader, "candidate")
    assert run(["simulate", "--replay", trace]) == 1
    told = capsys.readouterr().out
    assert "the outputs differ at call " in told
    assert "  next_actions(" in told
    assert "Standing(role='candidate', term=1, leader='raftq-0'" in told


def test_a_program_hears_the_same(
    trace: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["simulate", "--replay", trace, "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert same["same"]
    assert (same["member"], same["difference"], same["ending"]) == ("raftq-0", None, "torn")
    monkeypatch.setitem(roles.ROLE_NAMES, roles.Leader, "candidate")
    assert run(["simulate", "--replay", trace, "--json"]) == 1
    other = json.loads(capsys.readouterr().out)
    assert not other["same"]
    assert other["difference"]["door"] == "next_actions"
    assert other["difference"]["call"] == other["calls"] <= same["calls"]


def test_a_damaged_trace_is_said_in_one_line(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    damaged = bytearray(Path(trace).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    Path(trace).write_bytes(damaged)
    assert run(["simulate", "--replay", trace]) == 2
    assert capsys.readouterr().err.startswith(f"raftq: {trace} cannot be replayed: ")
