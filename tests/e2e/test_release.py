"""The chart installed with nothing but the image: who leads, where traffic goes, what the agents may and may not do."""

import json
import time
from functools import partial
from pathlib import Path

import pytest
from cluster_access import CHART, CommandFailed, Image, Object, helm, kubectl
from deadlines import eventually
from label_history import Changed, leaders
from raftq_release import MEMBERS, NAME, Release

STILL_S = 12.0
"""Longer than the ten seconds after which a label is checked again."""


def test_three_pods_on_three_nodes_and_exactly_one_is_labelled_leader(release: Release) -> None:
    pods = release.pods
    assert set(pods) == set(MEMBERS)
    nodes = json.loads(kubectl("get", "nodes", "--output", "json"))["items"]
    assert len({pod.node for pod in pods.values()}) == min(len(nodes), len(MEMBERS))
    assert [pod.role for pod in pods.values()].count("leader") == 1
    assert [pod.role for pod in pods.values()].count("follower") == 2
    assert {pod.restarts for pod in pods.values()} == {0}


def test_a_request_through_the_leader_service_reaches_the_leader(release: Release) -> None:
    leader = release.wait_settled()
    for _ in range(10):
        word = eventually("an answer", lambda: release.json(release.service("-leader"), "/leader"), 5)
        assert (word["id"], word["is_me"], word["term"]) == (leader.name, True, leader.term)


def test_the_followers_service_reaches_every_follower_and_no_leader(release: Release) -> None:
    """Every route follows its labels within the second or so that kube-proxy takes."""
    leader, followers = release.wait_settled(), release.service("-followers")

    def reached() -> set[str]:
        return {release.json(followers, "/v1/status")["member"] for _ in range(20)}

    eventually("the followers and nobody else", lambda: reached() == set(MEMBERS) - {leader.name}, 10)


def test_a_write_through_any_pod_is_read_from_every_pod(release: Release) -> None:
    for name, pod in release.pods.items():
        answer = release.put(release.place(pod), f"from-{name}", {"by": name})
        assert answer.status in (200, 201), answer
    for pod in release.pods.values():
        for name in MEMBERS:
            read = partial(release.json, release.place(pod), f"/v1/data/from-{name}")
            assert eventually(f"from-{name} on {pod.name}", read, 5) == {"by": name}


def test_helm_test_reaches_the_leader_from_inside_the_cluster(release: Release) -> None:
    assert "Succeeded" in helm("test", NAME, "--namespace", release.namespace, "--timeout", "60s")


def test_agents_may_label_members_keep_the_witness_and_nothing_else(release: Release) -> None:
    account = f"system:serviceaccount:{release.namespace}:{NAME}"

    def may(verb: str, resource: str, name: str = "", namespace: str = release.namespace) -> bool:
        attributes = {"verb": verb, "resource": resource, "name": name, "namespace": namespace}
        review = {"spec": {"user": account, "resourceAttributes": attributes}}
        answer = release.access.api("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review).json()
        allowed: bool = answer["status"]["allowed"]
        return allowed

    assert may("list", "pods")
    assert may("patch", "pods", f"{NAME}-0")
    assert may("patch", "pods", f"{NAME}-63")
    assert not may("patch", "pods", f"{NAME}-64")
    assert not may("patch", "pods", "another")
    assert not may("delete", "pods", f"{NAME}-0")
    assert not may("create", "pods")
    assert may("get", "configmaps", f"{NAME}-birth")
    assert may("patch", "configmaps", f"{NAME}-birth")
    assert not may("get", "configmaps", "another")
    assert not may("patch", "configmaps", "another")
    assert not may("create", "configmaps")
    assert not may("get", "secrets")
    assert not may("list", "pods", namespace="")


def test_an_upgrade_that_changes_nothing_restarts_nobody(release: Release, image: Image) -> None:
    before = release.get("statefulset", NAME)["status"]["updateRevision"]
    release.upgrade(image)
    after = eventually("the upgrade noticed", lambda: noticed(release.get("statefulset", NAME)), 10)
    assert after["status"]["updateRevision"] == before


def noticed(statefulset: Object) -> Object | None:
    return statefulset if statefulset["status"]["observedGeneration"] == statefulset["metadata"]["generation"] else None


def test_an_upgrade_to_another_number_of_members_is_refused_with_a_sentence(release: Release, image: Image) -> None:
    with pytest.raises(CommandFailed, match="replicaCount 5: this cluster has 3 members"):
        release.upgrade(image, "--set", "replicaCount=5")


def test_an_upgrade_under_another_name_is_refused_with_a_sentence(release: Release, image: Image) -> None:
    with pytest.raises(CommandFailed, match='the name "other": this release made the StatefulSet'):
        release.upgrade(image, "--set", "fullnameOverride=other")


@pytest.mark.parametrize("values", sorted((CHART / "ci").glob("*-values.yaml")), ids=lambda path: path.stem)
def test_the_api_accepts_every_field_of_the_chart(release: Release, values: Path) -> None:
    rendered = helm("template", "other", CHART, "--namespace", release.namespace, "--values", values)
    words = ("apply", "--dry-run=server", "--validate=strict", "--filename", "-")
    assert "configured" not in release.kubectl(*words, feed=rendered)


def test_in_steady_state_nobody_writes_to_the_pods(release: Release) -> None:
    """Twice the time is given: the kubelet may still have a status to report from the tests before."""

    def changes(since: float) -> list[str]:
        return [
            f"{event.pod.name} {event.pod.role}"
            for event in release.watch.history
            if event.at > since and isinstance(event, Changed)
        ]

    def still() -> bool:
        start, before = time.monotonic(), release.pods
        while time.monotonic() < start + STILL_S:
            if changes(start):
                return False
            time.sleep(0.2)
        shown = json.loads(release.kubectl("get", "pods", "--output", "json"))["items"]
        versions = {each["metadata"]["name"]: each["metadata"]["resourceVersion"] for each in shown}
        return {name: versions[name] for name in MEMBERS} == {
            name: pod.resource_version for name, pod in before.items()
        }

    eventually(f"{STILL_S:g} s without a change of a pod", still, 3 * STILL_S, every_s=0)
    assert len(leaders(release.pods)) == 1
