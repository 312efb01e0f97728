"""Who leads after an agent that is about to end."""

import pytest

from raftq_k8s.agent.succession import NEARLY_CAUGHT_UP, successor
from raftq_k8s.kube.label import Gone, Mark, Pod
from raftq_k8s.node.status import MemberStatus

ME = "raftq-2"


def member(ordinal, kind="voter", connected=True, lag=0):
    return MemberStatus(f"raftq-{ordinal}", "i", kind, connected, 1, lag, 1.0, 1.0, None)


def pods(*revisions, terminating=()):
    """Of the ordinals from 0 on; `None` where no pod was seen."""
    return {
        f"raftq-{ordinal}": Pod(f"raftq-{ordinal}", "u", "1", None, Mark(), True, ordinal in terminating, revision)
        for ordinal, revision in enumerate(revisions)
        if revision is not None
    }


FIVE = [member(ordinal) for ordinal in range(5)]


@pytest.mark.parametrize(
    ("seen", "best"),
    [
        (pods("old", "old", "old", "old", "old"), "raftq-0"),  # it will be rolled out last
        (pods("old", "old", "old", "new", "new"), "raftq-3"),  # it has been rolled out
        (pods("old", "old", "old", "old", "old", terminating={0}), "raftq-1"),
        (pods("old", "old", "old", "new", "new", terminating={3, 4}), "raftq-0"),
        (pods("old", "old", "old", "old", "old", terminating={0, 1, 3, 4}), "raftq-0"),
        (pods(None, None, "old", "old", None), "raftq-3"),
    ],
)
def test_the_best_is_one_that_stays_then_one_that_is_new_then_the_lowest(seen, best):
    assert successor(ME, FIVE, seen) == best


def test_whoever_cannot_take_over_soon_is_none():
    lagging = member(0, lag=NEARLY_CAUGHT_UP + 1)
    members = [lagging, member(1, kind="learner"), member(2), member(3, connected=False), member(4)]
    assert successor(ME, members, pods(*["old"] * 5)) == "raftq-4"


@pytest.mark.parametrize(
    "seen", [{}, pods(None, None, "old"), pods("old", "old", None), {ME: pods("x")["raftq-0"], "raftq-0": Gone(Mark())}]
)
def test_where_nothing_is_seen_raft_decides(seen):
    assert successor(ME, FIVE, seen) is None


def test_ordinals_are_numbers():
    members = [member(10), member(9), member(2)]
    assert successor(ME, members, pods(*["old"] * 11)) == "raftq-9"
