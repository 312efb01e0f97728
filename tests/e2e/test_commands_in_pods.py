"""The commands of the image, run in a pod of the chart: what a person at a cluster does."""

import json

from cluster_access import Image
from raftq_release import MEMBERS, Release


def in_pod(release: Release, member: str, *words: str) -> str:
    return release.kubectl("exec", member, "--", "raftq", *words)


def test_the_doctor_finds_nothing_wrong_with_a_healthy_release(release: Release) -> None:
    leader = release.wait_settled()
    findings = json.loads(in_pod(release, leader.name, "doctor", "--json"))["findings"]
    assert {finding["check"]: finding["state"] for finding in findings}.items() >= {
        ("volume", "well"),
        ("DNS", "well"),
        ("peers", "well"),
        ("kubernetes", "well"),
        ("leader", "well"),
        ("label", "well"),
    }


def test_the_status_in_any_pod_names_the_leader_and_its_label(release: Release) -> None:
    leader = release.wait_settled()
    for member in MEMBERS:
        told = in_pod(release, member, "status")
        assert f"leader {leader.name}" in told
        assert all(other in told for other in MEMBERS)


def test_a_hand_over_by_command_moves_leadership_and_label(release: Release) -> None:
    before = release.wait_settled()
    successor = next(member for member in MEMBERS if member != before.name)
    assert in_pod(release, before.name, "transfer", successor).strip() == f"{successor} leads"
    after = release.wait_settled()
    assert (after.name, after.term > before.term) == (successor, True)


def test_what_is_put_in_one_pod_is_got_in_another(release: Release) -> None:
    first, *_, last = MEMBERS
    in_pod(release, first, "data", "put", "told-by-command", '"blue"')
    assert in_pod(release, last, "data", "get", "told-by-command").strip() == '"blue"'


def test_members_prove_themselves_by_a_secret_that_an_upgrade_keeps(release: Release, image: Image) -> None:
    def secret() -> str:
        return release.kubectl("get", "secret", "raftq-peers", "--output", "jsonpath={.data}")

    before = secret()
    assert before
    release.upgrade(image)
    assert secret() == before
