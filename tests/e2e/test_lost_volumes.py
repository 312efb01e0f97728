"""Volumes are lost, all or most of them: what may begin in their place, and who has to say so."""

import json

import pytest
from cluster_access import CommandFailed, Image
from deadlines import Unanswered, eventually
from raftq_release import MEMBERS, Release

WITNESS = "raftq-birth"


def witness(release: Release) -> dict[str, str]:
    found: dict[str, str] = release.get("configmap", WITNESS).get("data", {})
    return found


def lose_all_volumes(release: Release) -> None:
    release.kubectl("scale", "statefulset", "raftq", "--replicas=0")
    release.kubectl("wait", "--for=delete", "pod", "--selector=app.kubernetes.io/name=raftq", "--timeout=90s")
    release.kubectl("delete", "pvc", "--selector=app.kubernetes.io/name=raftq", "--timeout=60s")
    release.kubectl("scale", "statefulset", "raftq", "--replicas=3")


def waiting_for(release: Release) -> list[str]:
    """What the pods say that they wait for."""
    found = []
    for pod in release.pods.values():
        try:
            found.append(release.access.ask(release.place(pod), "GET", "/readyz").body.decode())
        except Unanswered:
            continue
    return found


@pytest.mark.parametrize("rule", ["lowest", "witness"])
def test_51_an_empty_cluster_begins_only_when_a_person_says_so(release: Release, image: Image, rule: str) -> None:
    release.upgrade(image, "--set", f"birth={rule}")
    release.kubectl("rollout", "status", "statefulset", "raftq", "--timeout=120s")
    leader = release.wait_settled()
    eventually("the leader's term in the witness", lambda: witness(release).get("term") == str(leader.term), 20)
    lost = witness(release)["cluster"]

    lose_all_volumes(release)

    def refused() -> bool:
        said = waiting_for(release)
        return len(said) == len(MEMBERS) and all(
            f"names cluster {lost}, but the volumes here are empty" in each for each in said
        )

    eventually("every pod to say that the volumes are lost", refused, 60, every_s=0.5)
    assert witness(release)["cluster"] == lost

    release.kubectl("patch", "configmap", WITNESS, "--type", "merge", "--patch", '{"data":{"cluster":null}}')
    again = release.wait_settled(60)
    assert again.term > leader.term
    born = eventually("the new cluster in the witness", lambda: witness(release).get("cluster"), 20)
    assert born != lost
    members = json.loads(witness(release)["birth"])["members"]
    assert set(members) <= set(MEMBERS)
    assert 2 * len(members) > len(MEMBERS)


def test_an_upgrade_leaves_the_witness_as_it_is(release: Release, image: Image) -> None:
    leader = release.wait_settled()
    eventually("the leader's term in the witness", lambda: witness(release).get("term") == str(leader.term), 20)
    before = release.get("configmap", WITNESS)
    release.upgrade(image)
    assert release.get("configmap", WITNESS)["data"]["cluster"] == before["data"]["cluster"]


def test_whose_cluster_was_recovered_without_them_join_the_new_one_by_the_witness(release: Release) -> None:
    leader = release.wait_settled()
    eventually("the leader's term in the witness", lambda: witness(release).get("term") == str(leader.term), 20)
    old = witness(release)["cluster"]
    release.kubectl("scale", "statefulset", "raftq", "--replicas=1")
    for gone in ("raftq-2", "raftq-1"):
        release.kubectl("wait", "--for=delete", f"pod/{gone}", "--timeout=90s")

    def recovered() -> bool:
        try:
            release.kubectl("exec", "raftq-0", "--", "raftq", "recover", old, "--yes")
        except CommandFailed as error:  # somebody led too lately
            raise Unanswered(str(error)) from None
        return True

    eventually("nobody to have led for long enough", recovered, 60, every_s=1)
    eventually("the new cluster in the witness", lambda: witness(release)["former"].split(",")[-1] == old, 30)
    assert int(witness(release)["term"]) > leader.term
    for replicas in (2, 3):  # each alone: two of three would be the quorum that was given up for lost
        release.kubectl("scale", "statefulset", "raftq", f"--replicas={replicas}")
        release.kubectl("rollout", "status", "statefulset", "raftq", "--timeout=90s")
    again = release.wait_settled(60)
    assert again.term > leader.term
    clusters = {release.json(release.place(pod), "/v1/status")["cluster"] for pod in release.pods.values()}
    assert clusters == {witness(release)["cluster"]}
    assert old not in clusters
