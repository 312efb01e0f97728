"""Which path is whose, and who may walk it.

A path is a literal, or holds one `{argument}`. An argument at the end takes all that follows, slashes included, and an
argument in the middle takes no slash; what it is, percent-encoding and all, is for its handler to say. Literals come
before arguments. HEAD is answered wherever GET is.
"""

from collections.abc import Awaitable, Callable, Iterable
from enum import Enum
from functools import partial
from typing import NamedTuple, TypeAlias, TypeVar

from aiohttp.web import BaseRequest

from raftq_k8s.api.answers import Response
from raftq_k8s.api.problems import method_not_allowed, no_such_resource


class Access(Enum):
    """What a request does, which decides who may make it (`authorization.py`)."""

    PROBE = "probe"
    """Nothing that anybody could not know: for the kubelet and Prometheus."""
    READ = "read"
    WRITE = "write"
    """Changes the document."""
    ADMINISTER = "administer"
    """Changes the cluster, or this process."""


Handler: TypeAlias = Callable[[BaseRequest], Awaitable[Response]]
ArgumentHandler: TypeAlias = Callable[[BaseRequest, str], Awaitable[Response]]


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


class Found(NamedTuple):
    access: Access
    handler: Handler


_Offered = TypeVar("_Offered")


class RouteTable:
    def __init__(self, routes: Iterable[Route | ArgumentRoute]) -> None:
        self.routes = tuple(routes)
        self._literal: dict[str, dict[str, Found]] = {}
        self._inside: dict[tuple[str, str], dict[str, ArgumentRoute]] = {}
        self._at_the_end: dict[str, dict[str, ArgumentRoute]] = {}
        for route in self.routes:
            match route:
                case Route(method, path, access, handler):
                    _offer(self._literal.setdefault(path, {}), method, Found(access, handler))
                case ArgumentRoute(method, path):
                    before, _, rest = path.partition("{")
                    behind = rest.partition("}")[2]
                    if behind:
                        _offer(self._inside.setdefault((before, behind), {}), method, route)
                    else:
                        _offer(self._at_the_end.setdefault(before, {}), method, route)

    def find(self, method: str, path: str) -> Found:
        """Raises `Problem` where there is nothing at that raw path, or not for that method."""
        literal = self._literal.get(path)
        if literal is not None:
            return _of_method(literal, method)
        for (before, behind), methods in self._inside.items():
            if path.startswith(before) and path.endswith(behind):
                argument = path[len(before) : -len(behind)]
                if argument and "/" not in argument:
                    return _with_argument(methods, method, argument)
        for before, methods in self._at_the_end.items():
            if path.startswith(before):
                return _with_argument(methods, method, path[len(before) :])
        raise no_such_resource(path)


def _offer(methods: dict[str, _Offered], method: str, offered: _Offered) -> None:
    methods[method] = offered
    if method == "GET":
        methods["HEAD"] = offered


def _with_argument(methods: dict[str, ArgumentRoute], method: str, argument: str) -> Found:
    route = _of_method(methods, method)
    return Found(route.access, partial(_call, route.handler, argument))


def _call(handler: ArgumentHandler, argument: str, request: BaseRequest) -> Awaitable[Response]:
    return handler(request, argument)


def _of_method(methods: dict[str, _Offered], method: str) -> _Offered:
    offered = methods.get(method)
    if offered is None:
        raise method_not_allowed(method, ", ".join(methods))
    return offered
