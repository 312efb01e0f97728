"""One look at the picture answers: who leads, who is down, what was lost."""

import io

import pytest
from rich.console import Console, Group

from raftq_k8s.cli.demo import Kill, Report, Scene
from raftq_k8s.cli.demo_view import parts
from raftq_k8s.cli.local_cluster import LocalAgent, LocalCluster
from raftq_k8s.node.status import NodeStatus, RaftRole

LEADS = NodeStatus(
    member="raftq-0",
    cluster="c",
    waiting_for=None,
    role=RaftRole.LEADER,
    term=4,
    leader="raftq-0",
    established=True,
    leader_http=None,
    caught_up=True,
    leaderless_ms=0.0,
    quorum_left_ms=200.0,
    lease_left_ms=200.0,
    commit_index=1203,
    applied_index=1203,
    last_index=1203,
    voters=(),
    learners=(),
    connected=(),
    elections={},
    leader_changes=0,
    ignored_messages={},
    proposals={},
)


@pytest.fixture
def scene(tmp_path, monkeypatch):
    cluster = LocalCluster(tmp_path)
    monkeypatch.setattr(LocalAgent, "running", property(lambda agent: agent.name != "raftq-2"))
    scene = Scene(cluster, 5)
    scene.seen = {"raftq-0": LEADS, "raftq-1": None}
    scene.rates.extend([100.0, 200.0, 0.0, 100.0])
    scene.kills.append(Kill("raftq-2", 3, "raftq-0", 0.25))
    return scene


def picture(scene, report=None, width=80):
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(Group(*parts(scene, report)))
    return console.file.getvalue()


def test_each_member_is_told_by_its_state(scene):
    lines = picture(scene).splitlines()
    assert any(line.split() == ["●", "raftq-0", "leader", "4", "1,203", "1,203"] for line in lines)
    assert any("raftq-1" in line and "starting" in line for line in lines)
    assert any("✗" in line and "raftq-2" in line and "killed" in line for line in lines)


def test_a_pause_of_the_writes_is_seen(scene):
    assert "▅█·▅" in picture(scene)


def test_every_kill_has_its_successor_and_its_time(scene):
    shown = picture(scene)
    assert "1 of 5" in shown
    assert "raftq-2 → raftq-0   0.25 s  ━━━━━━━━━━" in shown


def test_what_is_counted_and_how_long_a_bar_is_are_explained(scene):
    shown = picture(scene)
    assert "refused: not done; unknown: no answer came" in shown
    assert "━ is 25 ms" in shown


@pytest.mark.parametrize(("lost", "mark"), [(0, "✓ 0 lost"), (2, "✗ 2 lost")])
def test_the_end_says_whether_it_is_well(scene, lost, mark):
    assert mark in picture(scene, Report(3, 1, [0.25], 1203, lost, 0))


def test_no_line_breaks_on_an_ordinary_terminal(scene):
    assert all(len(line) <= 78 for line in picture(scene, Report(3, 1, [0.25], 123456, 0, 0), width=200).splitlines())
