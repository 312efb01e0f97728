"""Leaders end, in one way or another: label and traffic move, and no acknowledged write is lost."""

import time
from collections.abc import Mapping
from functools import partial

import pytest
from cluster_faults import Faults
from deadlines import eventually
from label_history import Pod
from raftq_release import MEMBERS, SELECTOR, AcknowledgedWrites, Release


def test_kubectl_delete_pod_of_the_leader_moves_label_and_traffic(release: Release, figures: list[str]) -> None:
    leader = release.wait_settled()
    uid = release.pods[leader.name].uid
    with AcknowledgedWrites(release, "deleted-") as writes:
        moved = release.failover(lambda: release.kubectl("delete", "pod", leader.name, "--wait=false"))
        writes.wait_goes_on(time.monotonic())
        release.wait_settled()
    assert release.pods[leader.name].uid != uid
    writes.assert_all_there()
    figures.append(f"kubectl delete pod of the leader: {moved}")


@pytest.mark.cluster_faults
def test_sigkill_of_the_leaders_process_moves_label_and_traffic(
    release: Release, faults: Faults, figures: list[str]
) -> None:
    for number in range(3):
        leader = release.wait_settled()
        pod = release.pods[leader.name]
        with AcknowledgedWrites(release, f"killed-{number}-") as writes:
            start = time.monotonic()
            moved = release.failover(partial(faults.kill, release.namespace, [leader.name]))
            pause = writes.wait_goes_on(start)
            eventually("the process started again", partial(started_again, release, pod), 30)
            release.wait_settled()
        after = release.pods[leader.name]
        assert (after.uid, after.address) == (pod.uid, pod.address), "no longer the same pod"
        writes.assert_all_there()
        figures.append(f"SIGKILL of the leader's process: {moved}; longest pause of writes {pause:.2f} s")


@pytest.mark.cluster_faults
def test_50_all_pods_killed_at_once_come_back_with_new_addresses_and_every_acknowledged_key(
    release: Release, faults: Faults, figures: list[str]
) -> None:
    before = release.pods
    with AcknowledgedWrites(release, "all-killed-") as writes:
        eventually("a hundred acknowledged writes", lambda: len(writes.acknowledged) >= 100, 20)
        start = time.monotonic()
        faults.kill(release.namespace, MEMBERS)
        release.kubectl("delete", "pods", "--selector", SELECTOR, "--grace-period=1", "--wait=false")
        eventually("three new pods", lambda: all_new(release, before), 60)
        release.wait_settled(60)
        took = time.monotonic() - start
        writes.wait_goes_on(time.monotonic())
    addresses = {pod.address for pod in release.pods.values()}
    assert not addresses & {pod.address for pod in before.values()}
    writes.assert_all_there()
    figures.append(f"all pods killed and deleted at once: three ready pods, rightly labelled, after {took:.1f} s")


def test_a_cluster_that_was_stopped_comes_back_with_every_acknowledged_key(release: Release) -> None:
    before = release.pods
    with AcknowledgedWrites(release, "stopped-") as writes:
        eventually("fifty acknowledged writes", lambda: len(writes.acknowledged) >= 50, 20)
    release.kubectl("scale", "statefulset/raftq", "--replicas=0")
    eventually("no pod left", lambda: not release.pods, 60)
    release.kubectl("scale", "statefulset/raftq", "--replicas=3")
    release.wait_settled(60)
    assert all_new(release, before)
    writes.assert_all_there()


def test_a_rolling_restart_comes_to_its_end_and_keeps_every_acknowledged_key(
    release: Release, figures: list[str]
) -> None:
    before = release.pods
    with AcknowledgedWrites(release, "rolled-") as writes:
        start = time.monotonic()
        release.kubectl("rollout", "restart", "statefulset/raftq")
        release.kubectl("rollout", "status", "statefulset/raftq", "--timeout=120s")
        release.wait_settled()
        took = time.monotonic() - start
    figures.append(
        f"rolling restart: {took:.1f} s; of {len(writes.acknowledged) + writes.failed} writes {writes.failed} failed"
    )
    assert all_new(release, before)
    writes.assert_all_there()


def started_again(release: Release, before: Pod) -> bool:
    return release.pods[before.name].restarts > before.restarts


def all_new(release: Release, before: Mapping[str, Pod]) -> bool:
    pods = release.pods
    return len(pods) == len(MEMBERS) and not {pod.uid for pod in pods.values()} & {pod.uid for pod in before.values()}
