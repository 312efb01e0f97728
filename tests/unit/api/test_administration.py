"""What administers a cluster, over HTTP: members, transfer, pause, and what is shown of it."""

from pathlib import Path

import pytest
from aiohttp import ClientSession
from node_of_one import ME, OTHER, AgentOfOne, NodeOfOne

from raftq_k8s.api import snapshots
from raftq_k8s.api.server import HttpFace
from raftq_k8s.node import snapshot_file
from raftq_k8s.node.errors import NotLeader, OutcomeUnknown, TransferFailed
from raftq_k8s.node.status import RaftRole
from raftq_k8s.raft.consensus import TransferRefused
from raftq_k8s.raft.membership import ChangeRefused, Member, Promote, Remove
from raftq_k8s.raft.types import ClusterId, Incarnation, Index, MemberId, Term
from raftq_k8s.state.commands import LONGEST_REASON, Put


async def test_members_are_told_with_what_is_known_of_each(http: ClientSession) -> None:
    async with http.get("/v1/members") as response:
        told = await response.json()
    assert (told["term"], told["leader"]) == (7, "raftq-0")
    assert [member["name"] for member in told["members"]] == ["raftq-0", "raftq-1", "raftq-2"]
    assert told["members"][1] == {
        "name": "raftq-1",
        "incarnation": "of-raftq-1",
        "kind": "voter",
        "connected": True,
        "match_index": 11,
        "lag": 2,
        "rtt_ms": 0.4,
        "heard_ms": 21.0,
        "http_address": None,
    }


@pytest.mark.parametrize("path", ["/v1/members/raftq-2", "/v1/members/raftq%2d2?incarnation=of-raftq-2"])
async def test_a_member_is_removed_as_the_incarnation_that_it_is(
    http: ClientSession, node: NodeOfOne, path: str
) -> None:
    async with http.delete(path) as response:
        assert (response.status, await response.json()) == (200, {"name": "raftq-2", "incarnation": "of-raftq-2"})
    assert node.changes == [Remove(Member(MemberId("raftq-2"), Incarnation("of-raftq-2")))]


async def test_a_learner_is_promoted(http: ClientSession, node: NodeOfOne) -> None:
    async with http.post("/v1/members/raftq-2/promote") as response:
        assert response.status == 200
    assert node.changes == [Promote(Member(MemberId("raftq-2"), Incarnation("of-raftq-2")))]


@pytest.mark.parametrize("name", ["raftq-3", "raftq-2?incarnation=another", "%ff", "raftq-2/x"])
async def test_who_is_no_member_is_not_changed(http: ClientSession, node: NodeOfOne, name: str) -> None:
    async with http.delete(f"/v1/members/{name}") as response:
        assert response.status == 404
    assert node.changes == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("DELETE", "/v1/members/raftq-2"), ("POST", "/v1/members/raftq-2/promote"), ("POST", "/v1/transfer")],
)
async def test_what_only_a_leader_can_do_is_asked_of_it(
    http: ClientSession, node: NodeOfOne, method: str, path: str
) -> None:
    node.is_now(role=RaftRole.FOLLOWER, leader=OTHER, leader_http="10.0.0.2:7480")
    async with http.request(method, path, allow_redirects=False) as response:
        assert response.status == 307
        assert response.headers["Location"] == f"http://10.0.0.2:7480{path}"
    node.is_now(leader=None, leader_http=None)
    async with http.request(method, path) as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
    assert node.changes == []


@pytest.mark.parametrize(
    ("refusal", "status", "kind"),
    [
        (ChangeRefused("raftq-2 is no learner"), 409, "change-refused"),
        (NotLeader(OTHER), 503, "no-leader"),
        (OutcomeUnknown(), 504, "outcome-unknown"),
    ],
)
async def test_a_change_that_is_refused_is_explained(
    http: ClientSession, node: NodeOfOne, refusal: Exception, status: int, kind: str
) -> None:
    node.refusal = refusal
    async with http.post("/v1/members/raftq-2/promote") as response:
        assert response.status == status
        assert (await response.json(content_type=None))["type"] == f"urn:raftq:problem:{kind}"


@pytest.mark.parametrize(
    ("body", "leader"), [(b"", "raftq-1"), (b'{"to": null}', "raftq-1"), (b'{"to": "raftq-2"}', "raftq-2")]
)
async def test_the_leadership_is_handed_over(http: ClientSession, body: bytes, leader: str) -> None:
    async with http.post("/v1/transfer", data=body) as response:
        assert (response.status, await response.json()) == (200, {"leader": leader, "term": 8})


async def test_before_the_leadership_is_handed_over_the_application_stops(
    http: ClientSession, agent: AgentOfOne
) -> None:
    async with http.post("/v1/transfer", json={"to": "raftq-1"}) as response:
        assert response.status == 200
    assert agent.asked == ["set aside", "resumed"]


async def test_for_a_transfer_that_cannot_be_the_application_does_not_stop(
    http: ClientSession, agent: AgentOfOne
) -> None:
    async with http.post("/v1/transfer", json={"to": "raftq-2"}):  # it is not connected
        assert agent.asked == []


@pytest.mark.parametrize(
    ("refusal", "status"), [(TransferRefused("raftq-9 is no voter"), 409), (TransferFailed("nobody took it"), 503)]
)
async def test_a_transfer_that_comes_to_nothing_is_explained(
    http: ClientSession, node: NodeOfOne, refusal: Exception, status: int
) -> None:
    node.refusal = refusal
    async with http.post("/v1/transfer", json={"to": "raftq-9"}) as response:
        assert response.status == status
        assert (await response.json(content_type=None))["detail"].startswith(str(refusal))


@pytest.mark.parametrize("body", [b'{"to": 3}', b'{"to": "raftq-1", "force": true}', b'"raftq-1"'])
async def test_a_transfer_to_nobody_knows_whom_does_nothing(http: ClientSession, node: NodeOfOne, body: bytes) -> None:
    async with http.post("/v1/transfer", data=body) as response:
        assert response.status == 422
    assert node.now.leader == ME


async def test_a_cluster_is_paused_for_a_reason_and_goes_on(http: ClientSession) -> None:
    async with http.post("/v1/pause", json={"reason": "new disks"}) as response:
        assert (response.status, await response.json()) == (200, {"paused": "new disks", "revision": 1})
    for path in "/v1/pause", "/v1/status":
        async with http.get(path) as response:
            assert (await response.json())["paused"] == "new disks"
    async with http.delete("/v1/pause") as response:
        assert (response.status, await response.json()) == (200, {"paused": None, "revision": 2})
    async with http.get("/v1/pause") as response:
        assert await response.json() == {"paused": None}


async def test_a_reason_has_an_end(http: ClientSession, node: NodeOfOne) -> None:
    async with http.post("/v1/pause", json={"reason": "x" * (LONGEST_REASON + 1)}) as response:
        assert response.status == 422
    assert node.submitted == []


async def test_who_led_before_is_told(http: ClientSession) -> None:
    async with http.get("/v1/history") as response:
        (failover,) = (await response.json())["failovers"]
    assert (failover["from"], failover["to"], failover["term"], failover["reason"], failover["duration_ms"]) == (
        "raftq-1",
        "raftq-0",
        7,
        "connection-lost",
        290.0,
    )


async def test_a_snapshot_is_the_whole_state_and_names_its_moment(
    http: ClientSession, node: NodeOfOne, tmp_path: Path
) -> None:
    for number in range(5000):
        node.apply(Put(f"key-{number}", b'"%s"' % (b"x" * 100)))
    async with http.get("/v1/snapshot") as response:
        assert response.headers["X-Raftq-Applied-Index"] == "5000"
        assert response.headers["X-Raftq-Term"] == "7"
        assert response.headers["X-Raftq-Cluster"] == "raftq-7f3c"
        body = await response.read()
    assert len(body) > 500_000
    (tmp_path / "saved").write_bytes(body)
    heading, state = snapshot_file.read(tmp_path / "saved")
    assert heading == snapshot_file.Heading(ClusterId("raftq-7f3c"), Index(5000), Term(7))
    assert state.document.whole() == node.document.whole()


async def test_a_snapshot_for_an_old_client_ends_with_the_connection(
    face: HttpFace, exchange: object, tmp_path: Path
) -> None:
    answer = await exchange(b"GET /v1/snapshot HTTP/1.0\r\n\r\n")  # type: ignore[operator]
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding" not in head
    (tmp_path / "saved").write_bytes(body)
    snapshot_file.read(tmp_path / "saved")


async def test_only_some_snapshots_are_on_their_way_at_a_time(
    http: ClientSession, node: NodeOfOne, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "AT_A_TIME", 1)
    for number in range(100):
        node.apply(Put(f"key-{number}", b'"%s"' % (b"x" * 1_000_000)))  # more than sockets hold
        if node.document.size_bytes > 20_000_000:
            break
    async with http.get("/v1/snapshot") as first:
        async with http.get("/v1/snapshot") as second:
            assert (second.status, second.headers["Retry-After"]) == (503, "1")
        await first.read()
    async with http.get("/v1/snapshot") as third:
        assert third.status == 200


async def test_a_node_without_a_cluster_has_no_snapshot(http: ClientSession, node: NodeOfOne) -> None:
    node.is_now(cluster=None)
    async with http.get("/v1/snapshot") as response:
        assert response.status == 503


async def test_the_status_says_what_runs_and_how_the_label_is(http: ClientSession) -> None:
    async with http.get("/v1/status") as response:
        told = await response.json()
    assert (told["version"], told["paused"], told["label"]) == ("9.9.9", None, None)
