"""A Kubernetes API server with nothing but pods and ConfigMaps, in memory, for the tests of `raftq_k8s.kube`.

It keeps what the label rests on: an object's uid and resourceVersion are compared with the patch's before anything
changes, in the order of the real one (404, then 409), and a patch that changes nothing makes no new resourceVersion.
It remembers which pods wore the leader's label after every change, so that a test can say "never two". Its weather can
be set.
"""

import asyncio
import copy
import json
from collections.abc import Callable
from typing import Any

from aiohttp import web

TERM, CLUSTER = "raftq.io/term", "raftq.io/cluster"
APP = {"app": "raftq"}
OWNER = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "raftq", "uid": "owner", "controller": True}

Request = web.Request


class FakeKubeApi:
    def __init__(self) -> None:
        self.pods: dict[str, dict[str, Any]] = {}
        self.config_maps: dict[str, dict[str, Any]] = {}
        self.history: list[frozenset[str]] = []
        self.requests: list[tuple[str, str, int]] = []
        """Method, last part of the path, status answered."""
        self.patches: list[tuple[str, dict[str, Any]]] = []
        self.tokens: list[str] = []
        self.accepts: list[str] = []
        self.refuse: Callable[[Request], int | None] = lambda request: None
        """A status to answer instead of doing anything."""
        self.before: Callable[[Request, Any], None] = lambda request, body: None
        """Called before a request is carried out: what somebody else does in between."""
        self.allowed: set[tuple[str, str, str]] = set()
        """Verb, resource and name that a review says yes to."""
        self.lose_answers = False
        """Carry out, then hang up."""
        self._thawed = asyncio.Event()
        self._thawed.set()
        self._version = 100
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def __aenter__(self) -> "FakeKubeApi":
        application = web.Application()
        pods = "/api/v1/namespaces/test/pods"
        application.router.add_get(pods, self._guarded(self._list))
        application.router.add_get(pods + "/{name}", self._guarded(self._get))
        application.router.add_patch(pods + "/{name}", self._guarded(self._patch))
        config_map = "/api/v1/namespaces/test/configmaps/{name}"
        application.router.add_get(config_map, self._guarded(self._get_config_map))
        application.router.add_patch(config_map, self._guarded(self._patch_config_map))
        reviews = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        application.router.add_post(reviews, self._guarded(self._review))
        await self._listen(application)
        return self

    async def _listen(self, application: web.Application) -> None:
        self._runner = web.AppRunner(application, shutdown_timeout=0.01)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def __aexit__(self, *exception: object) -> None:
        self.thaw()
        assert self._runner is not None
        await self._runner.cleanup()

    # What an administrator, a kubelet or the StatefulSet controller does.

    def create(self, name: str, *, role: str | None = None, term: int | None = None, **meta: Any) -> dict[str, Any]:
        labels = {**APP, **({"role": role} if role else {})}
        annotations = {TERM: str(term), CLUSTER: "c"} if term is not None else {}
        metadata = {"name": name, "labels": labels, "annotations": annotations, "ownerReferences": [OWNER], **meta}
        self._version += 1
        metadata |= {"uid": f"uid-{self._version}", "resourceVersion": str(self._version)}
        self.pods[name] = {"metadata": metadata}
        self._remember()
        return metadata

    def create_config_map(self, name: str, **data: str) -> dict[str, Any]:
        self._version += 1
        metadata = {"name": name, "uid": f"uid-{self._version}", "resourceVersion": str(self._version)}
        self.config_maps[name] = {"metadata": metadata, **({"data": data} if data else {})}
        return self.config_maps[name]

    def touch(self, name: str, **changes: Any) -> None:
        """A change of the pod: `labels`, `annotations`, or nothing that matters."""
        self._version += 1
        metadata = self.pods[name]["metadata"]
        for field, values in changes.items():
            metadata[field] = _merged(metadata[field], values)
        metadata["resourceVersion"] = str(self._version)
        self._remember()

    def condemn(self, name: str) -> None:
        """Delete a pod that takes its time to end."""
        self.pods[name]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        self.touch(name)

    def delete(self, name: str) -> None:
        del self.pods[name]
        self._remember()

    def role(self, name: str) -> str | None:
        return self.pods[name]["metadata"]["labels"].get("role")

    def term(self, name: str) -> str | None:
        return self.pods[name]["metadata"]["annotations"].get(TERM)

    def labelled(self) -> frozenset[str]:
        return frozenset(name for name in self.pods if self.role(name) == "leader")

    def most_labelled_at_once(self) -> int:
        return max((len(names) for names in self.history), default=0)

    def statuses(self, method: str) -> list[int]:
        return [status for asked, _, status in self.requests if asked == method]

    def freeze(self) -> None:
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    async def until(self, condition: Callable[[], object], seconds: float = 5.0) -> None:
        """Wait for something that requests bring about, or that comes about besides them."""
        try:
            async with asyncio.timeout(seconds):
                while not condition():  # noqa: ASYNC110 (nobody tells)
                    await asyncio.sleep(0.002)
        except TimeoutError:
            raise AssertionError(f"never came about; pods {self.pods}, requests {self.requests[-20:]}") from None

    # What the server does.

    def _guarded(self, handler: Callable[[Request, Any], web.Response]) -> Callable[[Request], Any]:
        async def handle(request: Request) -> web.Response:
            body = await request.json() if request.body_exists else None
            self.tokens.append(request.headers.get("Authorization", ""))
            self.accepts.append(request.headers.get("Accept", ""))
            await self._thawed.wait()
            self.before(request, body)
            refused = self.refuse(request)
            response = _status(refused, "the weather") if refused else handler(request, body)
            self.requests.append((request.method, request.path.rsplit("/", 1)[-1], response.status))
            if self.lose_answers and request.transport:
                request.transport.abort()
            return response

        return handle

    def _review(self, request: Request, review: Any) -> web.Response:
        asked = review["spec"]["resourceAttributes"]
        allowed = (asked["verb"], asked["resource"], asked["name"]) in self.allowed and asked["namespace"] == "test"
        return web.json_response(review | {"status": {"allowed": allowed}}, status=201)

    def _get(self, request: Request, body: Any) -> web.Response:
        pod = self.pods.get(request.match_info["name"])
        return web.json_response(pod) if pod else _status(404, "not found")

    def _list(self, request: Request, body: Any) -> web.Response:
        asked = [term.split("=", 1) for term in request.query.get("labelSelector", "").split(",") if term]
        items = [pod for pod in self.pods.values() if all(pod["metadata"]["labels"].get(k) == v for k, v in asked)]
        return web.json_response({"kind": "PartialObjectMetadataList", "items": items})

    def _patch(self, request: Request, patch: Any) -> web.Response:
        response = self._merge(self.pods, request, patch)
        self._remember()
        return response

    def _get_config_map(self, request: Request, body: Any) -> web.Response:
        found = self.config_maps.get(request.match_info["name"])
        return web.json_response(found) if found else _status(404, "not found")

    def _patch_config_map(self, request: Request, patch: Any) -> web.Response:
        return self._merge(self.config_maps, request, patch)

    def _merge(self, objects: dict[str, dict[str, Any]], request: Request, patch: Any) -> web.Response:
        assert request.content_type == "application/merge-patch+json"
        name = request.match_info["name"]
        self.patches.append((name, patch))
        before = objects.get(name)
        if before is None:
            return _status(404, f'"{name}" not found')
        for precondition in ("resourceVersion", "uid"):
            wanted = patch["metadata"].get(precondition)
            if wanted is not None and wanted != before["metadata"][precondition]:
                return _status(409, "the object has been modified")
        after = _merged(copy.deepcopy(before), patch)
        if after != before:
            self._version += 1
            after["metadata"]["resourceVersion"] = str(self._version)
            objects[name] = after
        return web.json_response(objects[name])

    def _remember(self) -> None:
        self.history.append(self.labelled())


def _merged(target: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            target[key] = _merged(target.get(key, {}), value)
        else:
            target[key] = value
    return target


def _status(code: int, message: str) -> web.Response:
    body = json.dumps({"kind": "Status", "status": "Failure", "message": message, "code": code})
    return web.Response(status=code, text=body, content_type="application/json")
