"""The rules of the label, one by one; `test_label_race.py` lets them meet every order of events."""

import pytest

from raftq_k8s.kube.label import (
    CLUSTER_ANNOTATION,
    TERM_ANNOTATION,
    Decision,
    Follows,
    Gone,
    Leads,
    Mark,
    OwnPod,
    Pod,
    Purpose,
    Workload,
    Write,
    decide,
    merge_patch,
)
from raftq_k8s.kube.objects import ObjectMeta, OwnerReference

OURS = Mark(7, "c")
OWN = OwnPod("raftq-0", "uid-0")
LEADS = Leads(7, "c", ("raftq-0", "raftq-1", "raftq-2"))


def pod(number, role=None, term=0, cluster="c", **changes):
    mark = Mark(term, cluster if term else None)
    fields = {"name": f"raftq-{number}", "uid": f"uid-{number}", "resource_version": f"10{number}", "role": role}
    return Pod(**{**fields, "mark": mark, "ours": True, **changes})


def seen(*pods):
    return {pod.name: pod for pod in pods}


def fenced(number):
    return pod(number, "follower", 7)


def purposes(decision):
    return [(write.purpose, write.name) for write in decision.writes]


FENCE_BOTH = [(Purpose.FENCE, "raftq-1"), (Purpose.FENCE, "raftq-2")]


def test_a_new_leader_fences_every_other_voter_before_it_labels_itself():
    decision = decide(seen(pod(0), pod(1, "leader", 6), pod(2)), OWN, LEADS)
    assert purposes(decision) == FENCE_BOTH
    assert decision.writes[0] == Write(Purpose.FENCE, "raftq-1", "uid-1", "101", "follower", OURS)


def test_a_voter_without_a_label_is_fenced_too():
    assert purposes(decide(seen(pod(0), pod(1, "follower", 6), pod(2, None, 7)), OWN, LEADS)) == FENCE_BOTH


def test_the_label_waits_for_the_last_fence():
    assert purposes(decide(seen(pod(0), fenced(1), pod(2)), OWN, LEADS)) == [(Purpose.FENCE, "raftq-2")]


def test_when_all_are_fenced_the_leader_labels_itself():
    assert decide(seen(pod(0, "follower", 5), fenced(1), fenced(2)), OWN, LEADS) == Decision(
        (Write(Purpose.LEAD, "raftq-0", "uid-0", "100", "leader", OURS),)
    )


def test_a_label_of_an_earlier_leadership_gets_the_new_mark():
    assert purposes(decide(seen(pod(0, "leader", 5), fenced(1), fenced(2)), OWN, LEADS)) == [(Purpose.LEAD, "raftq-0")]


def test_in_steady_state_nobody_writes():
    steady = seen(pod(0, "leader", 7), fenced(1), fenced(2))
    assert decide(steady, OWN, LEADS) == Decision()
    assert decide(steady, OwnPod("raftq-1", "uid-1"), Follows()) == Decision()


def test_another_pod_of_the_statefulset_that_wears_the_label_is_fenced():
    others = (pod(0, "leader", 7), fenced(1), fenced(2))
    assert purposes(decide(seen(*others, pod(3, "leader")), OWN, LEADS)) == [(Purpose.FENCE, "raftq-3")]
    assert purposes(decide(seen(*others, pod(3)), OWN, LEADS)) == []


@pytest.mark.parametrize("holder", [0, 1, 3])
@pytest.mark.parametrize("cluster", ["c", "another", None])
def test_a_higher_term_on_any_pod_of_whatever_cluster_ends_all_writing(holder, cluster):
    pods = {number: pod(number) for number in range(4)} | {holder: pod(holder, "follower", 9, cluster)}
    assert decide(seen(*pods.values()), OWN, LEADS) == Decision(above=9)


def test_the_highest_term_in_reach_outranks_us():
    pods = seen(pod(0), pod(1, mark=Mark(7 + (1 << 32), "c")), pod(2))
    assert decide(pods, OWN, LEADS) == Decision(above=7 + (1 << 32))


@pytest.mark.parametrize("holder", [0, 1, 2])
@pytest.mark.parametrize("term", [8 + (1 << 32), (1 << 62) - 1, 10**19 - 1])
def test_a_term_out_of_reach_outranks_nobody_and_is_overwritten(holder, term):
    """Raft would not follow it: believed, one stray annotation would stop the label for ever."""
    pods = {number: pod(number, "follower", mark=OURS) for number in range(3)}
    pods[holder] = pod(holder, "follower", mark=Mark(term, "c"))
    decision = decide(seen(*pods.values()), OWN, LEADS)
    assert decision.above is None
    assert {(write.name, write.mark) for write in decision.writes} == {(f"raftq-{holder}", OURS)}


def test_the_same_term_of_another_cluster_outranks_us():
    assert decide(seen(pod(0), pod(1, "leader", 7, "another"), pod(2)), OWN, LEADS) == Decision(above=8)


def test_a_fence_without_a_cluster_is_written_again():
    half = pod(1, "follower", mark=Mark(7, None))
    assert purposes(decide(seen(pod(0), half, fenced(2)), OWN, LEADS)) == [(Purpose.FENCE, "raftq-1")]


def test_a_voter_that_no_read_showed_is_asked_for_by_a_write_that_can_do_nothing():
    (probe,) = decide(seen(pod(0), fenced(1)), OWN, LEADS).writes
    assert (probe.purpose, probe.name) == (Purpose.PROBE, "raftq-2")
    assert probe.uid == "00000000-0000-0000-0000-000000000000"
    assert probe.resource_version == "1"


def test_a_write_that_met_no_pod_is_as_good_as_a_fence_in_this_term_alone():
    known = seen(pod(0), fenced(1))
    assert purposes(decide({**known, "raftq-2": Gone(OURS)}, OWN, LEADS)) == [(Purpose.LEAD, "raftq-0")]
    assert purposes(decide({**known, "raftq-2": Gone(Mark(6, "c"))}, OWN, LEADS)) == [(Purpose.PROBE, "raftq-2")]


def test_a_pod_created_again_is_fenced_again_and_the_label_stays():
    again = pod(2, None, uid="uid-2b")
    assert purposes(decide(seen(pod(0, "leader", 7), fenced(1), again), OWN, LEADS)) == [(Purpose.FENCE, "raftq-2")]


def test_a_pod_of_another_owner_is_reported_and_not_touched():
    thief = pod(9, "leader", 99, ours=False)
    assert decide(seen(pod(0, "leader", 7), fenced(1), fenced(2), thief), OWN, LEADS) == Decision(
        intruders=("raftq-9",)
    )
    assert decide(seen(pod(0, "follower"), thief), OWN, Follows()) == Decision(intruders=("raftq-9",))


def test_a_process_whose_pod_was_created_again_writes_nothing():
    replaced = seen(pod(0, "leader", 7, uid="uid-0b"), pod(1), pod(2))
    decision = decide(replaced, OWN, LEADS)
    assert decision.writes == ()
    assert "passed to another pod" in decision.hindrance
    assert decide(replaced, OWN, Follows()) == Decision()


def test_nothing_is_labelled_that_is_not_there_or_not_ours():
    assert "no pod raftq-0" in decide(seen(fenced(1), fenced(2)), OWN, LEADS).hindrance
    assert "another owner" in decide(seen(pod(0, ours=False), pod(1), pod(2)), OWN, LEADS).hindrance
    assert "not seen yet" in decide({}, None, LEADS).hindrance
    assert decide({}, None, Follows()) == Decision()


@pytest.mark.parametrize("role", ["leader", None, "something"])
def test_who_does_not_lead_becomes_a_follower_and_leaves_the_mark(role):
    decision = decide(seen(pod(0, role, 9), pod(1, "leader", 8)), OWN, Follows())
    assert decision == Decision((Write(Purpose.STEP_BACK, "raftq-0", "uid-0", "100", "follower", None),))
    assert "annotations" not in merge_patch(decision.writes[0], "role")["metadata"]


def test_every_patch_names_the_state_it_was_decided_on():
    assert merge_patch(Write(Purpose.LEAD, "raftq-0", "uid-0", "100", "leader", OURS), "example.org/role") == {
        "metadata": {
            "uid": "uid-0",
            "resourceVersion": "100",
            "labels": {"example.org/role": "leader"},
            "annotations": {TERM_ANNOTATION: "7", CLUSTER_ANNOTATION: "c"},
        }
    }


def meta(name="raftq-0", **fields):
    return ObjectMeta(name, "u", "1", **fields)


@pytest.mark.parametrize("term", ["", "-1", "seven", "7.0", "\u0667", "9" * 400])
def test_what_is_not_a_term_fences_nobody(term):
    assert Workload("raftq", "").pod(meta(annotations={TERM_ANNOTATION: term})).mark.term == 0


def test_a_term_and_a_cluster_are_read_from_the_annotations():
    annotations = {TERM_ANNOTATION: "12", CLUSTER_ANNOTATION: "c"}
    assert Workload("raftq", "").pod(meta(annotations=annotations)).mark == Mark(12, "c")


def test_the_label_key_is_a_setting():
    assert Workload("raftq", "", "role2").pod(meta(labels={"role": "a", "role2": "b"})).role == "b"


@pytest.mark.parametrize(
    ("name", "owner", "ours"),
    [
        ("raftq-0", OwnerReference("StatefulSet", "raftq", True), True),
        ("raftq-0", OwnerReference("StatefulSet", "other", True), False),
        ("raftq-0", OwnerReference("ReplicaSet", "raftq", True), False),
        ("raftq-0", OwnerReference("Node", "n", False), True),
        ("raftq-0", None, True),
        ("raftq-x", None, False),
        ("raftq", None, False),
        ("7", None, False),
    ],
)
def test_whose_pod_it_is(name, owner, ours):
    assert Workload("raftq", "").pod(meta(name, owner_references=(owner,) if owner else ())).ours is ours
