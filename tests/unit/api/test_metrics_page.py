"""The metrics page, read as Prometheus reads it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import ClientSession
from node_of_one import AgentOfOne, FramesOfOne, LabelOfOne, LoopOfOne, NodeOfOne
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as plain

from raftq_k8s.api.server import HttpFace

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]

OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}

EXPECTED = {
    "raftq_build_info{version=9.9.9}": 1,
    "raftq_term": 7,
    "raftq_role{role=leader}": 1,
    "raftq_role{role=follower}": 0,
    "raftq_role{role=candidate}": 0,
    "raftq_is_leader": 1,
    "raftq_leader_info{leader=raftq-0}": 1,
    "raftq_members{kind=voter}": 3,
    "raftq_members{kind=connected}": 1,
    "raftq_commit_index": 12,
    "raftq_applied_index": 11,
    "raftq_log_entries": 13,
    "raftq_log_base_index": 3,
    "raftq_snapshot_index": 9,
    "raftq_elections_total{outcome=won}": 2,
    "raftq_elections_total{outcome=pre-vote-lost}": 1,
    "raftq_leader_changes_total": 3,
    "raftq_leaderless_seconds": 0,
    "raftq_proposals_total{outcome=applied}": 5,
    "raftq_ignored_messages_total{kind=other-cluster}": 4,
    "raftq_bad_frames_total{kind=undecodable}": 6,
    "raftq_certificate_expiry_timestamp_seconds": 1_500_000_000,
    "raftq_event_loop_lag_seconds_bucket{le=0.01}": 1,
    "raftq_event_loop_lag_seconds_bucket{le=+Inf}": 2,
    "raftq_event_loop_lag_seconds_count": 2,
    "raftq_event_loop_lag_seconds_sum": 2.5,
    "raftq_event_loop_stalls_total": 1,
    "raftq_paused": 0,
    "raftq_peer_lag_entries{peer=raftq-1}": 2,
    "raftq_peer_lag_entries{peer=raftq-2}": 13,
    "raftq_heartbeat_rtt_seconds{peer=raftq-1}": 0.0004,
    "raftq_persist_seconds_bucket{le=0.0025}": 1,
    "raftq_commit_seconds_sum": 0.004,
    "raftq_election_duration_seconds_count": 1,
    "raftq_application_hooks_total{hook=exec,outcome=done}": 3,
    "raftq_application_state{state=starting}": 1,
    "raftq_application_state{state=promoted}": 0,
    "raftq_label_writes_total{outcome=written}": 2,
    "raftq_label_pending": 1,
    "raftq_labelled_leaders": 1,
    "raftq_api_last_success_timestamp_seconds": 1_700_000_000.5,
    "raftq_label_lag_seconds_count": 2,
    "raftq_label_lag_seconds_bucket{le=0.1}": 1,
    "raftq_label_lag_seconds_bucket{le=+Inf}": 2,
}


@pytest.fixture
async def label() -> LabelOfOne:
    return LabelOfOne()


@pytest.fixture
async def face(node: NodeOfOne, label: LabelOfOne) -> AsyncIterator[HttpFace]:
    face = HttpFace(
        node,
        "127.0.0.1",
        0,
        version="9.9.9",
        label=label,
        frames=FramesOfOne(),
        loop=LoopOfOne(),
        application=AgentOfOne(),
    )
    await face.start()
    face.observe_label_lag(0.07)
    face.observe_label_lag(3.0)
    yield face
    await face.close()


def named(name: str, labels: dict[str, str]) -> str:
    return name + ("{" + ",".join(f"{key}={value}" for key, value in sorted(labels.items())) + "}" if labels else "")


@pytest.mark.parametrize(("headers", "parse"), [({}, plain), (OPENMETRICS, openmetrics)])
async def test_every_figure_is_on_the_page(http: ClientSession, headers: dict[str, str], parse: object) -> None:
    async with http.get("/metrics", headers=headers) as response:
        assert response.status == 200
        assert response.content_type == ("application/openmetrics-text" if headers else "text/plain")
        families = list(parse(await response.text()))  # type: ignore[operator]
    shown = {named(sample.name, sample.labels): sample.value for family in families for sample in family.samples}
    assert {name: shown.get(name) for name in EXPECTED} == EXPECTED
    assert shown["process_resident_memory_bytes"] > 0
    ours = [family for family in families if family.name.startswith("raftq_")]
    assert all(family.documentation for family in ours)
    assert len({family.name for family in ours}) == len(ours)
    if headers:
        assert {family.name: family.unit for family in ours if family.name.endswith("_seconds")} == {
            "raftq_leaderless_seconds": "seconds",
            "raftq_api_last_success_timestamp_seconds": "seconds",
            "raftq_label_lag_seconds": "seconds",
            "raftq_certificate_expiry_timestamp_seconds": "seconds",
            "raftq_event_loop_lag_seconds": "seconds",
            "raftq_persist_seconds": "seconds",
            "raftq_commit_seconds": "seconds",
            "raftq_election_duration_seconds": "seconds",
            "raftq_heartbeat_rtt_seconds": "seconds",
        }


async def test_every_problem_is_counted_by_its_kind(http: ClientSession, face: HttpFace) -> None:
    for path in "/v1/nothing", "/v1/nothing", "/v1/data/", "/v1/data/a":
        await http.get(path)
    reader, writer = await asyncio.open_connection("127.0.0.1", face.port)
    writer.write(b"no HTTP\r\n\r\n")
    await reader.read()
    writer.close()
    async with http.get("/metrics") as response:
        page = await response.text()
    for kind, count in {"no-such-resource": 2, "bad-key": 1, "no-such-key": 1, "bad-request": 1}.items():
        assert f'raftq_http_problems_total{{kind="{kind}"}} {count}.0' in page


async def test_a_figure_that_is_not_known_is_absent_and_not_zero(
    http: ClientSession, node: NodeOfOne, label: LabelOfOne
) -> None:
    node.is_now(leader=None)
    label.labelled_leaders = label.api_last_success = None
    async with http.get("/metrics") as response:
        page = await response.text()
    for name in "raftq_leader_info", "raftq_labelled_leaders", "raftq_api_last_success":
        assert name not in page


async def test_without_label_and_transport_the_page_does_without_them(node: NodeOfOne) -> None:
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    await face.start()
    face.observe_label_lag(1.0)
    async with ClientSession() as session, session.get(f"http://127.0.0.1:{face.port}/metrics") as response:
        page = await response.text()
    await face.close()
    assert "raftq_term 7.0" in page
    assert "label" not in page
    assert "bad_frames" not in page
