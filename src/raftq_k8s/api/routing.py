"""Which path is whose, and who may walk it.

A path is a literal, or holds one `{argument}`. An argument at the end takes all that follows, slashes included, and an
argument in the middle takes no slash; what it is, percent-encoding and all, is for its handler to say. Literals come
before arguments. HEAD is answered wherever GET is.
"""

from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from typing import NamedTuple, TypeAlias, TypeVar

from raftq_k8s.api.answers import Response
from raftq_k8s.api.problems import method_not_allowed, no_such_resource
from raftq_k8s.api.requests import Request


class Access(Enum):
    """What a request does, which decides who may make it (`authorization.py`)."""

    PROBE = "probe"
    """Nothing that anybody could not know: for the kubelet and Prometheus."""
    READ = "read"
    WRITE = "write"
    """Changes the document."""
    ADMINISTER = "administer"
    """Changes the cluster, or this process."""


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]
ArgumentHandler: TypeAlias = Callable[[Request, str], Awaitable[Response]]


class Route(NamedTuple):
    method: str
    path: str
    access: Access
    handler: Handler


class ArgumentRoute(NamedTuple):
    """Its handler is given what stands in the raw path in the place of the `{argument}`."""

    method: str
    path: str
    access: Access
    handler: ArgumentHandler


_Offered = TypeVar("_Offered", Route, ArgumentRoute)


class _Family:
    """All paths whose argument begins at the same place."""

    def __init__(self) -> None:
        self.inside: dict[str, dict[str, ArgumentRoute]] = {}
        """By what stands behind the argument."""
        self.at_the_end: dict[str, ArgumentRoute] = {}

    def find(self, rest: str) -> tuple[dict[str, ArgumentRoute], str]:
        for behind, methods in self.inside.items():
            if rest.endswith(behind):
                argument = rest[: -len(behind)]
                if argument and "/" not in argument:
                    return methods, argument
        return self.at_the_end, rest


class RouteTable:
    def __init__(self, routes: Iterable[Route | ArgumentRoute]) -> None:
        self.routes = tuple(routes)
        self._literal: dict[str, dict[str, Route]] = {}
        self._families: dict[str, _Family] = {}
        for route in self.routes:
            if isinstance(route, Route):
                _offer(self._literal.setdefault(route.path, {}), route)
                continue
            before, _, rest = route.path.partition("{")
            behind = rest.partition("}")[2]
            family = self._families.setdefault(before, _Family())
            _offer(family.inside.setdefault(behind, {}) if behind else family.at_the_end, route)

    def find(self, method: str, path: str) -> tuple[Route | ArgumentRoute, str]:
        """The route, and its argument where it takes one. Raises `Problem` where there is nothing at that raw path, or
        not for that method."""
        literal = self._literal.get(path)
        if literal is not None:
            return _of_method(literal, method), ""
        for before, family in self._families.items():
            if path.startswith(before):
                methods, argument = family.find(path[len(before) :])
                if methods:
                    return _of_method(methods, method), argument
        raise no_such_resource(path)


def _offer(methods: dict[str, _Offered], route: _Offered) -> None:
    methods[route.method] = route
    if route.method == "GET":
        methods["HEAD"] = route


def _of_method(methods: dict[str, _Offered], method: str) -> _Offered:
    offered = methods.get(method)
    if offered is None:
        raise method_not_allowed(method, ", ".join(methods))
    return offered
