"""Who may do what, with a token and without one."""

import re
from pathlib import Path

import pytest
from aiohttp import ClientSession
from multidict import CIMultiDict
from node_of_one import AgentOfOne, NodeOfOne

from raftq_k8s.api.authorization import LOOKS_EVERY_S, Guard, TokenFile, TokenUnusable
from raftq_k8s.api.problems import Problem
from raftq_k8s.api.routing import Access
from raftq_k8s.api.server import HttpFace

CHANGES = [Access.WRITE, Access.ADMINISTER]


class Asked:
    """As much of a request as the guard looks at."""

    def __init__(self, peer: str = "10.0.0.9", token: str | None = None, **headers: str) -> None:
        self.headers = CIMultiDict({name.replace("_", "-"): text for name, text in headers.items()})
        if token is not None:
            self.headers["Authorization"] = token
        self.transport = self
        self._peer = peer

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return (self._peer, 4711) if name == "peername" else None


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def status(guard: Guard, access: Access, asked: Asked) -> int:
    try:
        guard.check(asked, access)  # type: ignore[arg-type]
    except Problem as problem:
        return problem.answer()._status
    return 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("open-sesame\n")
    return path


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(path: Path, clock: Clock) -> Guard:
    return Guard(TokenFile(path, clock))


@pytest.mark.parametrize("access", CHANGES)
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("Bearer open-sesame", 200),
        ("bearer  open-sesame ", 200),
        (None, 401),
        ("", 401),
        ("open-sesame", 401),
        ("Basic open-sesame", 401),
        ("Bearer", 403),
        ("Bearer open-sesam", 403),
        ("Bearer open-sesame!", 403),
        ("Bearer Open-Sesame", 403),
        ("Bearer \udcff\u2026", 403),
    ],
)
def test_a_change_needs_the_token_wherever_it_comes_from(
    guard: Guard, access: Access, given: str | None, expected: int
) -> None:
    for peer in "10.0.0.9", "127.0.0.1":
        assert status(guard, access, Asked(peer, given)) == expected


def test_reads_need_it_only_where_they_are_guarded_and_probes_never(path: Path, guard: Guard) -> None:
    strict = Guard(TokenFile(path), guard_reads=True)
    for access, open_to, guarded in (Access.READ, 200, 401), (Access.PROBE, 200, 200):
        assert status(guard, access, Asked()) == open_to
        assert status(strict, access, Asked()) == guarded
    assert status(strict, Access.READ, Asked(token="Bearer open-sesame")) == 200


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("127.0.0.1", 200),
        ("127.9.9.9", 200),
        ("::1", 200),
        ("::ffff:127.0.0.1", 200),
        ("10.0.0.9", 403),
        ("::ffff:10.0.0.9", 403),
        ("fe80::1%eth0", 403),
        ("", 403),
    ],
)
def test_without_a_token_a_cluster_is_administered_from_its_own_pods_alone(peer: str, expected: int) -> None:
    guard = Guard()
    assert status(guard, Access.ADMINISTER, Asked(peer)) == expected
    for access in Access.PROBE, Access.READ, Access.WRITE:
        assert status(guard, access, Asked(peer)) == 200


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("http://localhost:7480", 200),
        ("http://[::1]:7480", 200),
        ("https://example.org", 403),
        ("http://localhost@example.org", 403),
        ("http://[::1", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_a_page_that_a_browser_shows_administers_nothing(origin: str, expected: int) -> None:
    assert status(Guard(), Access.ADMINISTER, Asked("127.0.0.1", Origin=origin)) == expected


@pytest.mark.parametrize(
    ("site", "expected"), [("cross-site", 403), ("same-site", 200), ("same-origin", 200), ("none", 200)]
)
def test_a_page_of_another_site_changes_nothing_through_a_browser_that_reaches_this_port(
    guard: Guard, site: str, expected: int
) -> None:
    assert status(Guard(), Access.WRITE, Asked(Sec_Fetch_Site=site)) == expected
    assert status(Guard(), Access.READ, Asked(Sec_Fetch_Site=site)) == 200
    assert status(guard, Access.WRITE, Asked(token="Bearer open-sesame", Sec_Fetch_Site=site)) == 200


def test_of_several_origins_the_farthest_counts() -> None:
    asked = Asked("127.0.0.1", Origin="http://localhost")
    asked.headers.add("Origin", "https://example.org")
    assert status(Guard(), Access.ADMINISTER, asked) == 403


@pytest.mark.parametrize("header", ["Forwarded", "X_Forwarded_For", "X_Real_IP", "Via"])
def test_whoever_comes_through_a_proxy_in_this_pod_is_not_from_here(header: str) -> None:
    assert status(Guard(), Access.ADMINISTER, Asked("127.0.0.1", **{header: "127.0.0.1"})) == 403
    assert status(Guard(), Access.WRITE, Asked("127.0.0.1", **{header: "10.0.0.9"})) == 200


def test_a_token_is_replaced_without_a_restart(path: Path, clock: Clock, guard: Guard) -> None:
    path.write_text("open-sesame\nopen-barley\n")
    assert status(guard, Access.WRITE, Asked(token="Bearer open-barley")) == 403
    clock.now += LOOKS_EVERY_S
    for token in "open-sesame", "open-barley":  # each line is one
        assert status(guard, Access.WRITE, Asked(token=f"Bearer {token}")) == 200
    path.write_text("open-barley\n")
    clock.now += LOOKS_EVERY_S
    assert status(guard, Access.WRITE, Asked(token="Bearer open-sesame")) == 403


@pytest.mark.parametrize("harm", ["gone", "empty"])
def test_a_file_that_holds_no_token_any_more_changes_nothing(
    path: Path, clock: Clock, guard: Guard, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    path.unlink()
    if harm == "empty":
        path.write_text(" \n\n")
    clock.now += LOOKS_EVERY_S
    assert status(guard, Access.WRITE, Asked(token="Bearer open-sesame")) == 200
    assert status(guard, Access.WRITE, Asked(token="Bearer ")) == 403
    assert [record.levelname for record in caplog.records] == ["WARNING"]


@pytest.mark.parametrize("text", [None, "", " \n"])
def test_without_a_token_in_it_a_file_is_refused_at_the_start(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
    with pytest.raises(TokenUnusable, match="token"):
        TokenFile(path)


async def test_each_route_is_for_whom_its_path_says(face: HttpFace) -> None:
    for route in face.table.routes:
        if route.method == "GET":
            probe = route.path in ("/livez", "/startupz", "/readyz", "/metrics")
            expected = Access.PROBE if probe else Access.READ
        else:
            of_the_document = route.path.startswith(("/v1/data", "/v1/transactions", "/v1/sessions"))
            expected = Access.WRITE if of_the_document else Access.ADMINISTER
        assert route.access is expected, route


async def test_no_route_forgets_to_ask(path: Path, node: NodeOfOne, agent: AgentOfOne) -> None:
    guard = Guard(TokenFile(path), guard_reads=True)
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9", guard=guard, operations=agent, application=agent)
    await face.start()
    try:
        async with ClientSession(f"http://127.0.0.1:{face.port}") as http:
            for route in face.table.routes:
                async with http.request(route.method, re.sub("{.*}", "a", route.path)) as response:
                    asks = route.access is not Access.PROBE
                    assert (response.status == 401) == asks, route
                    assert ("WWW-Authenticate" in response.headers) == asks
    finally:
        await face.close()
    assert node.submitted == agent.asked == []
