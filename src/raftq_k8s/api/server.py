"""The HTTP listener: which path is whose, and what an error becomes.

Everything that may go wrong ends here as a problem; an error that nobody foresaw is logged once, and its text stays
inside. The listener bounds its clients (`connections.py`) and their bodies (`bodies.py`).
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from aiohttp.web import BaseRequest

from raftq_k8s.api.answers import Answer
from raftq_k8s.api.connections import Connections
from raftq_k8s.api.data import Data, key_of
from raftq_k8s.api.leader import LeaderRoute
from raftq_k8s.api.metrics import Metrics
from raftq_k8s.api.probes import Probes
from raftq_k8s.api.problems import (
    NODE_ERRORS,
    RETRY_AFTER,
    Problem,
    internal,
    method_not_allowed,
    no_such_resource,
    refused_by_node,
)
from raftq_k8s.api.views import FrameView, LabelView, Node

log = logging.getLogger(__name__)

_KEYS = "/v1/data/"
_FOR_THE_CROWD = frozenset({"/livez", "/startupz", "/readyz", "/metrics"})
_CLOSING_GRACE_S = 3.0

Route = Callable[[BaseRequest], Awaitable[Answer]]
KeyRoute = Callable[[BaseRequest, str], Awaitable[Answer]]
_Route = TypeVar("_Route")


class HttpFace:
    """`port` 0 takes any free one. `version` is shown on the metrics page."""

    def __init__(
        self,
        node: Node,
        host: str,
        port: int,
        *,
        version: str,
        body_limit_bytes: int = 1 << 20,
        write_timeout_s: float = 5.0,
        connection_limit: int = 1024,
        idle_timeout_s: float = 75.0,
        label: LabelView | None = None,
        frames: FrameView | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._metrics = Metrics(node, version, label, frames)
        self._connections = Connections(self._answer, connection_limit, idle_timeout_s)
        self._server: asyncio.Server | None = None

        probes, leader = Probes(node), LeaderRoute(node)
        data = Data(node, body_limit_bytes, write_timeout_s)
        self._routes: Mapping[str, Mapping[str, Route]] = {
            "/livez": _reading(probes.live),
            "/startupz": _reading(probes.started),
            "/readyz": _reading(probes.ready),
            "/metrics": _reading(self._metrics.get),
            "/leader": _reading(leader.get),
            "/v1/leader": _reading(leader.get),
            "/v1/status": _reading(probes.status),
            "/v1/data": _reading(data.get_whole) | {"PUT": data.put_whole},
        }
        self._key_routes: Mapping[str, KeyRoute] = {
            "GET": data.get,
            "HEAD": data.get,
            "PUT": data.put,
            "DELETE": data.delete,
        }

    @property
    def port(self) -> int:
        """The port that it listens on, once started."""
        if self._server is None:
            return self._port
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self) -> None:
        """Listen. Raises `OSError` when the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connections, self._host, self._port, backlog=1024)

    async def close(self) -> None:
        """Take no more, give what is being answered a little time, and close the rest."""
        if self._server is None:
            return
        self._server.close()
        self._connections.pre_shutdown()
        await self._connections.shutdown(_CLOSING_GRACE_S)
        await self._server.wait_closed()
        self._server = None

    def observe_label_lag(self, seconds: float) -> None:
        """A leader's label was written so long after its election."""
        self._metrics.observe_label_lag(seconds)

    async def _answer(self, request: BaseRequest) -> Answer:
        try:
            return await self._dispatch(request)
        except Problem as problem:
            return problem.answer()
        except NODE_ERRORS as error:
            return refused_by_node(error).answer()
        except ConnectionError:
            raise  # the client has gone: aiohttp tidies up
        except Exception:
            log.exception("%s %s failed", request.method, request.rel_url.raw_path)
            return internal().answer()

    def _dispatch(self, request: BaseRequest) -> Awaitable[Answer]:
        path = request.rel_url.raw_path
        if self._connections.is_crowd(request) and path not in _FOR_THE_CROWD:
            detail = "this node serves as many connections as it may"
            raise Problem(503, "too-many-connections", "Too many connections", detail, headers=RETRY_AFTER, close=True)
        if path.startswith(_KEYS):
            by_key = _of_method(self._key_routes, request.method)
            return by_key(request, key_of(path[len(_KEYS) :]))
        by_path = self._routes.get(path)
        if by_path is None:
            raise no_such_resource(path)
        return _of_method(by_path, request.method)(request)


def _reading(route: Route) -> dict[str, Route]:
    return {"GET": route, "HEAD": route}


def _of_method(routes: Mapping[str, _Route], method: str) -> _Route:
    route = routes.get(method)
    if route is None:
        raise method_not_allowed(method, ", ".join(routes))
    return route
