"""All volumes are lost at once: nothing is born in place of the cluster until a person says so, and then above it."""

import json

import pytest
from cluster_access import Image
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
