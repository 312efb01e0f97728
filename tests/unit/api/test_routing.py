"""Which handler a path and a method find."""

import pytest

from raftq_k8s.api.answers import Answer
from raftq_k8s.api.problems import Problem
from raftq_k8s.api.requests import Request
from raftq_k8s.api.routing import Access, ArgumentRoute, Route, RouteTable


def literal(method: str, path: str, access: Access = Access.READ) -> Route:
    async def handle(request: Request) -> Answer:
        return Answer(200, path.encode())

    return Route(method, path, access, handle)


def with_argument(method: str, path: str) -> ArgumentRoute:
    async def handle(request: Request, argument: str) -> Answer:
        return Answer(200, f"{path} of {argument}".encode())

    return ArgumentRoute(method, path, Access.WRITE, handle)


TABLE = RouteTable(
    [
        literal("GET", "/things"),
        literal("POST", "/things", Access.ADMINISTER),
        literal("GET", "/things/best"),
        with_argument("GET", "/things/{key}"),
        with_argument("DELETE", "/things/{key}"),
        with_argument("POST", "/things/{key}/polish"),
        with_argument("POST", "/others/{key}/polish"),
    ]
)


async def found(method: str, path: str) -> str:
    route, argument = TABLE.find(method, path)
    given = (None,) if isinstance(route, Route) else (None, argument)
    answer = await route.handler(*given)  # type: ignore[call-arg, arg-type]
    return bytes(answer._body).decode()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/things", "/things"),
        ("HEAD", "/things", "/things"),
        ("GET", "/things/best", "/things/best"),
        ("GET", "/things/a", "/things/{key} of a"),
        ("HEAD", "/things/a", "/things/{key} of a"),
        ("GET", "/things/", "/things/{key} of "),
        ("DELETE", "/things/a/b%2F", "/things/{key} of a/b%2F"),
        ("POST", "/things/a/polish", "/things/{key}/polish of a"),
        ("GET", "/things/a/b/polish", "/things/{key} of a/b/polish"),
    ],
)
async def test_a_path_finds_its_handler_and_its_argument(method: str, path: str, expected: str) -> None:
    assert await found(method, path) == expected


@pytest.mark.parametrize("path", ["/", "/thing", "/things2", "//things", "", "/others/a", "/others/a/b/polish"])
def test_what_nobody_offers_is_not_found(path: str) -> None:
    with pytest.raises(Problem) as raised:
        TABLE.find("GET", path)
    assert raised.value.answer()._status == 404


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/things", b"Allow: GET, HEAD, POST\r\n"),
        ("PUT", "/things/a", b"Allow: GET, HEAD, DELETE\r\n"),
        ("GET", "/things/a/polish", b"Allow: POST\r\n"),
    ],
)
def test_a_method_that_is_not_offered_is_told_which_are(method: str, path: str, allowed: bytes) -> None:
    with pytest.raises(Problem) as raised:
        TABLE.find(method, path)
    assert raised.value.answer()._headers == allowed


def test_what_may_be_done_is_said_by_path_and_method() -> None:
    assert TABLE.find("HEAD", "/things")[0].access is Access.READ
    assert TABLE.find("POST", "/things")[0].access is Access.ADMINISTER
    assert TABLE.find("GET", "/things/a")[0].access is Access.WRITE
