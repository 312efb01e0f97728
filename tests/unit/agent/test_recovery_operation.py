"""A running agent gives up its quorum only where nobody leads, and says why not."""

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from raftq_k8s.agent.anew import Work
from raftq_k8s.agent.before_the_start import joins_only
from raftq_k8s.agent.recovery import SILENCE, Recovery
from raftq_k8s.api.views import OperationRefused
from raftq_k8s.node.status import NodeStatus, RaftRole
from raftq_k8s.raft.types import NO_INDEX, ClusterId, MemberId, Term
from raftq_k8s.storage import archive

HERE, NEW = ClusterId("7f3c"), ClusterId("91ab")
ME = MemberId("raftq-0")
ELECTION = 500.0
AT_MOST = 3

LOST = NodeStatus(
    member=ME,
    cluster=HERE,
    waiting_for=None,
    role=RaftRole.FOLLOWER,
    term=Term(3),
    leader=None,
    established=False,
    leader_http=None,
    caught_up=True,
    leaderless_ms=SILENCE * ELECTION,
    quorum_left_ms=0.0,
    lease_left_ms=0.0,
    commit_index=NO_INDEX,
    applied_index=NO_INDEX,
    last_index=NO_INDEX,
    voters=(ME, MemberId("raftq-1"), MemberId("raftq-2")),
    learners=(),
    connected=(),
    elections={},
    leader_changes=0,
    ignored_messages={},
    proposals={},
)


class Node:
    def __init__(self, status: NodeStatus) -> None:
        self._status = status

    def status(self) -> NodeStatus:
        return self._status

    def become(self, status: NodeStatus) -> None:
        self._status = status


def recovery_of(status: NodeStatus, begun: list[Work]) -> Recovery:
    def begin(work: Work) -> bool:
        begun.append(work)
        return len(begun) <= AT_MOST

    return Recovery(Node(status), Path("nowhere"), ME, ELECTION, begin)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (replace(LOST, cluster=ClusterId("other")), "belongs to cluster other, not to 7f3c"),
        (replace(LOST, cluster=None), "belongs to no cluster yet"),
        (replace(LOST, leader=MemberId("raftq-1"), leaderless_ms=0.0), "raftq-1 leads"),
        (replace(LOST, leaderless_ms=SILENCE * ELECTION - 1), "nobody led for 5.0 s"),
        (replace(LOST, voters=(MemberId("raftq-1"),)), "no member of cluster 7f3c any more"),
    ],
)
def test_a_quorum_that_may_be_there_is_not_given_up(status: NodeStatus, why: str) -> None:
    begun: list[Work] = []
    with pytest.raises(OperationRefused, match=why):
        recovery_of(status, begun).recover(HERE)
    assert begun == []


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (replace(LOST, cluster=NEW), "belongs to cluster 91ab already"),
        (replace(LOST, leader=MemberId("raftq-1"), leaderless_ms=0.0), "raftq-1 leads"),
    ],
)
def test_a_cluster_that_may_live_is_not_left_for_another(status: NodeStatus, why: str) -> None:
    begun: list[Work] = []
    with pytest.raises(OperationRefused, match=why):
        recovery_of(status, begun).join(NEW)
    assert begun == []


def test_a_lost_quorum_is_given_up_for_a_cluster_of_another_name_each_time() -> None:
    begun: list[Work] = []
    ids = {recovery_of(LOST, begun).recover(HERE) for _ in range(3)}
    assert (len(ids), HERE in ids, len(begun)) == (3, False, 3)


def test_a_node_of_no_cluster_can_be_told_which_one_to_join_at_once() -> None:
    begun: list[Work] = []
    recovery_of(replace(LOST, cluster=None, leaderless_ms=0.0), begun).join(NEW)
    assert len(begun) == 1


def test_a_process_that_is_about_to_begin_anew_is_not_asked_for_something_else() -> None:
    begun: list[Work] = []
    recovery = recovery_of(LOST, begun)
    for _ in range(AT_MOST):
        recovery.recover(HERE)
    with pytest.raises(OperationRefused, match="about to begin anew"):
        recovery.join(NEW)


@pytest.mark.parametrize("ask", [lambda recovery: recovery.recover(HERE), lambda recovery: recovery.join(NEW)])
def test_where_somebody_leads_before_the_node_has_ended_nothing_is_given_up(
    ask: Callable[[Recovery], object], tmp_path: Path
) -> None:
    begun: list[Work] = []
    node = Node(LOST)
    recovery = Recovery(node, tmp_path, ME, ELECTION, lambda work: begun.append(work) or True)  # type: ignore[func-returns-value]
    ask(recovery)
    node.become(replace(LOST, leader=MemberId("raftq-1"), leaderless_ms=0.0))
    recovery.look_again()
    with pytest.raises(OperationRefused, match="raftq-1 leads"):
        begun[0]()
    assert list(tmp_path.iterdir()) == []


def test_a_crash_while_a_volume_is_given_up_leaves_no_blank_one_that_joins_any_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(*_: object) -> Path:
        raise OSError("as if the process had died")

    monkeypatch.setattr(archive, "move", crash)
    begun: list[Work] = []
    Recovery(Node(LOST), tmp_path, ME, ELECTION, lambda work: begun.append(work) or True).join(NEW)  # type: ignore[func-returns-value]
    with pytest.raises(OSError, match="died"):
        begun[0]()
    assert joins_only(tmp_path) == NEW
