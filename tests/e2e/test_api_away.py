"""The API server stopped, frozen, or saying no: election and writes go on, and afterwards the label is put right."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from cluster_faults import Faults
from label_history import Listed, leaders, states
from raftq_release import NAME, AcknowledgedWrites, Leader, Release


@pytest.fixture
def without_api(release: Release) -> Release:
    if not release.reachable_without_api():
        pytest.skip("pods and Services cannot be reached from here without the API server")
    return release


@pytest.mark.cluster_faults
@pytest.mark.parametrize(("action", "opposite"), [("stop", "start"), ("freeze", "thaw")])
def test_with_the_api_server_away_a_killed_leader_is_replaced_and_later_labelled(
    without_api: Release, faults: Faults, figures: list[str], action: str, opposite: str
) -> None:
    release = without_api
    old, start = release.wait_settled(), time.monotonic()
    with AcknowledgedWrites(release, f"api-{action}-") as writes:
        with faults.api_server(action, opposite):
            replaced(release, writes, old, lambda: faults.kill(release.namespace, [old.name]), figures, f"API {action}")
            assert [pod.name for pod in leaders(release.pods)] == [old.name], "no label can have moved"
        back = time.monotonic()
        leader = release.wait_labelled_rightly(20)
        figures.append(f"API {opposite} to the right label: {time.monotonic() - back:.2f} s")
        assert leader.term > old.term
        release.wait_settled(60)
    writes.assert_all_there()
    figures.append(f"API {opposite}: {gap(release, since=start, old=old)}")


def test_with_every_write_forbidden_a_deleted_leader_is_replaced_and_later_labelled(
    release: Release, figures: list[str]
) -> None:
    old = release.wait_settled()
    binding = release.get("rolebinding", NAME)
    with AcknowledgedWrites(release, "forbidden-") as writes:
        release.kubectl("delete", "rolebinding", NAME)
        try:
            gone = ("delete", "pod", old.name, "--wait=false")
            replaced(release, writes, old, lambda: release.kubectl(*gone), figures, "API says 403")
            assert release.leading() is not None
            assert old.name not in {pod.name for pod in leaders(release.pods)} or release.pods[old.name].terminating
        finally:
            release.kubectl("create", "--filename", "-", feed=json.dumps(without_history(binding)))
        back = time.monotonic()
        leader = release.wait_labelled_rightly(40)
        figures.append(f"API allows again to the right label: {time.monotonic() - back:.2f} s")
        assert leader.term > old.term
        release.wait_settled(60)
    writes.assert_all_there()


def replaced(
    release: Release,
    writes: AcknowledgedWrites,
    old: Leader,
    fault: Callable[[], object],
    figures: list[str],
    how: str,
) -> None:
    """Another pod leads, and writes go on."""
    start = time.monotonic()
    fault()
    release.wait_elected(old, 20)
    elected_s = time.monotonic() - start
    pause = writes.wait_goes_on(start)
    figures.append(f"{how}: elected {elected_s:.2f} s after the leader's end, longest pause of writes {pause:.2f} s")


def gap(release: Release, since: float, old: Leader) -> str:
    """What the watch may have missed. It lists anew when the API has forgotten where it stopped."""
    history = states(release.watch.history)
    listed = [leaders(state) for event, state in history if isinstance(event, Listed) and event.at > since]
    if not listed:
        return "the watch went on without a gap"
    if [pod.name for pod in listed[0]] == [old.name]:
        return "the watch listed anew before the first label was written: it missed nothing"
    return "the watch listed anew after the first label was written: it may have missed a state"


def without_history(shown: dict[str, Any]) -> dict[str, Any]:
    kept = ("name", "namespace", "labels", "annotations")
    return {**shown, "metadata": {key: value for key, value in shown["metadata"].items() if key in kept}}
