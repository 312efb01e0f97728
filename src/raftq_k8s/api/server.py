"""The HTTP listener: the table of all paths, and what an error becomes.

Everything that may go wrong ends here as a problem; an error that nobody foresaw is logged once, and its text stays
inside. The listener bounds its clients (`connections.py`) and their bodies (`bodies.py`), and asks `authorization.py`
before anything is done.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator, Mapping

from raftq_k8s.api.answers import Answer, Response, json_answer
from raftq_k8s.api.application import ApplicationRoutes
from raftq_k8s.api.authorization import Guard
from raftq_k8s.api.bodies import Bodies
from raftq_k8s.api.connections import Connections
from raftq_k8s.api.data import Data
from raftq_k8s.api.events import Events
from raftq_k8s.api.leader import LeaderRoute
from raftq_k8s.api.members import Members
from raftq_k8s.api.metrics import Metrics
from raftq_k8s.api.operations import OperationRoutes
from raftq_k8s.api.pause import PauseRoutes
from raftq_k8s.api.probes import Probes
from raftq_k8s.api.problems import (
    NODE_ERRORS,
    Problem,
    internal,
    refused_by_node,
    too_many_connections,
)
from raftq_k8s.api.reads import Reads
from raftq_k8s.api.requests import Request
from raftq_k8s.api.routing import Access, ArgumentRoute, Route, RouteTable
from raftq_k8s.api.sessions import Sessions
from raftq_k8s.api.snapshots import Snapshots
from raftq_k8s.api.status import Status
from raftq_k8s.api.transactions import Transactions
from raftq_k8s.api.transfer import Transfer
from raftq_k8s.api.views import ApplicationView, FrameView, LabelView, LoopView, Node, Operations
from raftq_k8s.api.writes import Writes

log = logging.getLogger(__name__)

CLOSING_GRACE_S = 3.0


class HttpFace:
    """`port` 0 takes any free one. `version` is shown on the metrics page. Without a `guard` there is no token.
    `timeout_s`: for so long a write waits to be committed, and a read for somebody who leads. What the process does not
    have (`operations`, `application`) has no path."""

    def __init__(
        self,
        node: Node,
        host: str,
        port: int,
        *,
        version: str,
        guard: Guard | None = None,
        body_limit_bytes: int = 1 << 20,
        timeout_s: float = 5.0,
        connection_limit: int = 2048,
        idle_timeout_s: float = 75.0,
        label: LabelView | None = None,
        frames: FrameView | None = None,
        operations: Operations | None = None,
        application: ApplicationView | None = None,
        loop: LoopView | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._guard = guard or Guard()
        self._problems: Counter[str] = Counter()
        self._metrics = Metrics(node, version, self._all_problems, label, frames, loop, application)
        self._connections = Connections(self._answer, connection_limit, idle_timeout_s)
        self._events = Events(node, connection_limit // 2)
        self._version = version
        self._server: asyncio.Server | None = None
        self._leaving = False

        self._probes = Probes(node)
        self.table = RouteTable(
            [
                *_probes(self._probes, self._metrics),
                *_leadership(node, self._events),
                *_document(node, body_limit_bytes, timeout_s, self._events),
                *_cluster(node, timeout_s, application),
                *_this_agent(Status(node, version, label)),
                Route("GET", "/v1/openapi.json", Access.READ, self._describe),
                *(() if operations is None else _operations(operations)),
                *(() if application is None else _application(application)),
            ]
        )

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

    def turn_away(self) -> None:
        """This process is about to end: go on answering, and close each connection after its answer, so that clients
        come back somewhere else, and none has sent something on a connection that is just being closed."""
        self._leaving = self._probes.leaving = True

    async def close(self) -> None:
        """Take no more, give what is being answered a little time, and close the rest."""
        if self._server is None:
            return
        self._server.close()
        self._events.close()
        await self._connections.shutdown(CLOSING_GRACE_S)
        await self._server.wait_closed()
        self._server = None

    def observe_label_lag(self, seconds: float) -> None:
        """A leader's label was written so long after its election."""
        self._metrics.observe_label_lag(seconds)

    async def _describe(self, request: Request) -> Answer:
        from raftq_k8s.api import openapi  # of use to few, and large

        told = openapi.document(self.table.routes, version=self._version, asks_token=self._guard.asks_token)
        return json_answer(200, told)

    async def _answer(self, request: Request) -> Response:
        if self._leaving:
            request.keep_alive = False  # and those that handlers send themselves say so
        response = await self._answered(request)
        if self._leaving:
            response.keep_alive = False
        return response

    async def _answered(self, request: Request) -> Response:
        try:
            route, argument = self.table.find(request.method, request.path)
            if route.access is not Access.PROBE and self._connections.is_crowd(request):
                raise too_many_connections()
            self._guard.check(request, route.access)
            if isinstance(route, Route):
                return await route.handler(request)
            return await route.handler(request, argument)
        except Problem as problem:
            return self._told(problem)
        except NODE_ERRORS as error:
            return self._told(refused_by_node(error))
        except ConnectionError:
            raise  # the client has gone: its connection tidies up
        except Exception:
            log.exception("%s %s failed", request.method, request.path)
            return self._told(internal())

    def _told(self, problem: Problem) -> Answer:
        self._problems[problem.kind] += 1
        return problem.answer()

    def _all_problems(self) -> Mapping[str, int]:
        return self._problems + self._connections.unreadable_requests


def _probes(probes: Probes, metrics: Metrics) -> Iterator[Route]:
    yield Route("GET", "/livez", Access.PROBE, probes.live)
    yield Route("GET", "/startupz", Access.PROBE, probes.started)
    yield Route("GET", "/readyz", Access.PROBE, probes.ready)
    yield Route("GET", "/metrics", Access.PROBE, metrics.get)


def _leadership(node: Node, events: Events) -> Iterator[Route]:
    leader = LeaderRoute(node)
    yield Route("GET", "/leader", Access.READ, leader.get)
    yield Route("GET", "/v1/leader", Access.READ, leader.get)
    yield Route("GET", "/v1/leader/events", Access.READ, events.leaders)


def _document(node: Node, body_limit_bytes: int, timeout_s: float, events: Events) -> Iterator[Route | ArgumentRoute]:
    bodies, writes = Bodies(body_limit_bytes), Writes(node, timeout_s)
    data = Data(node, bodies, Reads(node, timeout_s), writes)
    yield Route("GET", "/v1/data", Access.READ, data.get_whole)
    yield Route("PUT", "/v1/data", Access.WRITE, data.put_whole)
    yield Route("PATCH", "/v1/data", Access.WRITE, data.patch_whole)
    yield ArgumentRoute("GET", "/v1/data/{key}", Access.READ, data.get)
    yield ArgumentRoute("PUT", "/v1/data/{key}", Access.WRITE, data.put)
    yield ArgumentRoute("DELETE", "/v1/data/{key}", Access.WRITE, data.delete)
    yield Route("POST", "/v1/transactions", Access.WRITE, Transactions(node, bodies, writes).post)
    sessions = Sessions(node, timeout_s)
    yield Route("POST", "/v1/sessions", Access.WRITE, sessions.open)
    yield ArgumentRoute("DELETE", "/v1/sessions/{session}", Access.WRITE, sessions.close)
    yield Route("GET", "/v1/events", Access.READ, events.changes)
    yield Route("GET", "/v1/snapshot", Access.READ, Snapshots(node).get)


def _cluster(node: Node, timeout_s: float, application: ApplicationView | None) -> Iterator[Route | ArgumentRoute]:
    members, pause = Members(node, timeout_s), PauseRoutes(node, timeout_s)
    yield Route("GET", "/v1/members", Access.READ, members.list)
    yield ArgumentRoute("DELETE", "/v1/members/{name}", Access.ADMINISTER, members.remove)
    yield ArgumentRoute("POST", "/v1/members/{name}/promote", Access.ADMINISTER, members.promote)
    yield Route("POST", "/v1/transfer", Access.ADMINISTER, Transfer(node, timeout_s, application).post)
    yield Route("GET", "/v1/pause", Access.READ, pause.get)
    yield Route("POST", "/v1/pause", Access.ADMINISTER, pause.begin)
    yield Route("DELETE", "/v1/pause", Access.ADMINISTER, pause.end)


def _this_agent(status: Status) -> Iterator[Route]:
    yield Route("GET", "/v1/status", Access.READ, status.get)
    yield Route("GET", "/v1/history", Access.READ, status.history)


def _operations(operations: Operations) -> Iterator[Route]:
    routes = OperationRoutes(operations)
    yield Route("POST", "/v1/drain", Access.ADMINISTER, routes.drain)
    yield Route("POST", "/v1/recover", Access.ADMINISTER, routes.recover)


def _application(application: ApplicationView) -> Iterator[Route]:
    routes = ApplicationRoutes(application)
    yield Route("GET", "/v1/application", Access.READ, routes.get)
    yield Route("PUT", "/v1/application", Access.ADMINISTER, routes.put)
