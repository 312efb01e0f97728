from typing import Any

import pytest

from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.versions import Versions


@pytest.mark.parametrize(
    "wrong",
    [
        {"heartbeat": 0},
        {"heartbeat": -1},
        {"heartbeat": 150},
        {"minimum_election": 800},
        {"maximum_election": 200},
        {"max_inflight": 0},
        {"max_append_bytes": 0},
        {"max_uncommitted_bytes": 0},
        {"max_inflight_bytes": 0},
        {"max_chunk_bytes": 0},
        {"tail_bytes": -1},
        {"kept_entries": -1},
        {"max_voters": 0},
        {"silent_for": -1},
        {"versions": Versions(0, 1)},
        {"versions": Versions(2, 1)},
    ],
)
def test_settings_with_which_nobody_could_lead_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|bounds|kept"):
        Settings(**wrong)


def test_rounds_are_four_to_a_window_at_the_least() -> None:
    assert Settings().round_interval == 50
    assert Settings(heartbeat=20).round_interval == 20
