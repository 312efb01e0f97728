"""The application beside this node: what it is to do, and what it says of itself (`docs/application.md`)."""

from raftq_k8s.api.answers import Answer, json_answer
from raftq_k8s.api.json_bodies import JsonBodies
from raftq_k8s.api.operations import refused_by_agent
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import ApplicationReport, ApplicationView, OperationRefused


class ApplicationRoutes:
    def __init__(self, application: ApplicationView) -> None:
        self._application = application
        self._bodies = JsonBodies(ApplicationReport)

    async def get(self, request: Request) -> Answer:
        return json_answer(200, self._application.state())

    async def put(self, request: Request) -> Answer:
        report = await self._bodies.read(request)
        try:
            return json_answer(200, await self._application.report(report))
        except OperationRefused as error:
            raise refused_by_agent(error) from None
