"""A few calls of the Kubernetes API over plain aiohttp, each ended by a short time-out and by a typed error.

It reads the credentials that the kubelet puts into a pod, and the token again whenever its file changes. It repeats
nothing but the one request whose token had expired: what a failure means, and when to try again, is decided by who
asks. Reads carry no `resourceVersion`, so each is answered from the newest state and never from a cache that lags
behind.
"""

import os
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import aiohttp
import msgspec

from raftq_k8s.kube.objects import (
    AccessReview,
    ConfigMap,
    ObjectMeta,
    PartialObjectMetadata,
    PartialObjectMetadataList,
    Status,
)
from raftq_k8s.sockets import to_dial

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")

_WHOLE: Final = "application/json"
_METADATA: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
_METADATA_LIST: Final = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"

_REVIEW: Final = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}

_CONNECT_S: Final = 1.0
_TOTAL_S: Final = 2.0

_Decoded = TypeVar("_Decoded")


class ApiError(Exception):
    """The API did not do what it was asked."""


class ApiUnreachable(ApiError):
    """No answer in time, or one that says "not now": whether a write took effect is not known. Try again soon."""


class NotFound(ApiError):
    """There was no such object when the request was carried out."""


class Conflict(ApiError):
    """The object is not the one, or not in the state, that the write was meant for: nothing was written. Read again."""


class Refused(ApiError):
    """The API will go on saying no until somebody changes something: say so, and do not hurry."""


class Unauthorized(Refused):
    """The token is not accepted, not even after it was read again."""


class Forbidden(Refused):
    """The service account lacks a right, or an admission policy said no."""


class Invalid(Refused):
    """The request itself was not accepted."""


class NotInCluster(Exception):
    """This process finds no credentials of a pod: is `automountServiceAccountToken` off, or is this no pod at all?"""


class Token:
    """A bearer token in a file that the kubelet replaces before the token expires."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._value = ""

    def headers(self) -> dict[str, str]:
        if self._path is None:
            return {}
        try:
            status = self._path.stat()
            if (status.st_ino, status.st_mtime_ns) != self._stamp:
                self._value = _bearer(self._path.read_text())
                self._stamp = (status.st_ino, status.st_mtime_ns)
        except (OSError, ValueError) as error:
            raise Unauthorized(f"the token cannot be read: {error}") from None
        return {"Authorization": f"Bearer {self._value}"}

    def forget(self) -> None:
        self._stamp = None


def _bearer(text: str) -> str:
    """Raises `ValueError` for what no header may hold: better said here than by the first request."""
    token = text.strip()
    if not all("!" <= letter <= "~" for letter in token):
        raise ValueError("it holds more than a token's letters")
    return token


class ApiConfig(msgspec.Struct, frozen=True):
    """Where the API is and who we are there."""

    url: str
    namespace: str
    token: Path | None = None
    authority: Path | None = None
    """The certificates that the API server's must lead to; not read for an `http://` address."""

    @classmethod
    def in_cluster(cls, account: Path = SERVICE_ACCOUNT, environment: Mapping[str, str] = os.environ) -> "ApiConfig":
        host = environment.get("KUBERNETES_SERVICE_HOST", "")
        port = environment.get("KUBERNETES_SERVICE_PORT", "443")
        if not host:
            raise NotInCluster("KUBERNETES_SERVICE_HOST is not set: this process does not run in a pod")
        try:
            namespace = (account / "namespace").read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotInCluster(f"the pod's credentials cannot be read: {error}") from None
        bracketed = f"[{host}]" if ":" in host else host
        return cls(f"https://{bracketed}:{port}", namespace, account / "token", account / "ca.crt")


class ApiClient:
    """To be made inside the event loop that uses it. It opens no connection before the first call.

    Raises `NotInCluster` without the certificates by which the API server is known.
    """

    def __init__(self, config: ApiConfig, *, connect_s: float = _CONNECT_S, total_s: float = _TOTAL_S) -> None:
        secure = config.url.startswith("https://")
        try:
            context = ssl.create_default_context(cafile=config.authority) if secure else False
        except OSError as error:  # an SSLError is one as well
            raise NotInCluster(f"the certificates {config.authority} cannot be read: {error}") from None
        self._token = Token(config.token)
        self._namespace = config.namespace
        self._reviews = f"{config.url}/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        namespaced = f"{config.url}/api/v1/namespaces/{config.namespace}"
        self._pods = f"{namespaced}/pods"
        self._config_maps = f"{namespaced}/configmaps"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context if secure else True, socket_factory=to_dial),
            timeout=aiohttp.ClientTimeout(total=total_s, connect=connect_s),
            headers={"User-Agent": "raftq"},
        )
        self.last_success: float | None = None
        """When the API last did its work for us, in seconds since the epoch. A 404 and a 409 are work done."""

    async def close(self) -> None:
        await self._session.close()

    async def get_pod(self, name: str) -> ObjectMeta:
        found = await self._call("GET", f"{self._pods}/{name}", _METADATA, PartialObjectMetadata)
        return found.metadata

    async def list_pods(self, selector: str) -> tuple[ObjectMeta, ...]:
        query = {"labelSelector": selector}
        found = await self._call("GET", self._pods, _METADATA_LIST, PartialObjectMetadataList, query=query)
        return tuple(item.metadata for item in found.items)

    async def patch_pod(self, name: str, patch: Mapping[str, Any]) -> ObjectMeta:
        """Merge `patch` (RFC 7396) into the pod, and return what it has become."""
        written = await self._patch(f"{self._pods}/{name}", patch, _METADATA, PartialObjectMetadata)
        return written.metadata

    async def get_config_map(self, name: str) -> ConfigMap:
        return await self._call("GET", f"{self._config_maps}/{name}", _WHOLE, ConfigMap)

    async def patch_config_map(self, name: str, patch: Mapping[str, Any]) -> ConfigMap:
        """As `patch_pod`."""
        return await self._patch(f"{self._config_maps}/{name}", patch, _WHOLE, ConfigMap)

    async def may(self, verb: str, resource: str, name: str = "") -> bool:
        """Whether the service account has that right in its namespace (a SelfSubjectAccessReview). An empty `name`: on
        all of them."""
        attributes = {"namespace": self._namespace, "verb": verb, "resource": resource, "name": name}
        body = msgspec.json.encode({**_REVIEW, "spec": {"resourceAttributes": attributes}})
        reviewed = await self._call("POST", self._reviews, _WHOLE, AccessReview, body=body)
        return reviewed.status.allowed

    async def _patch(self, url: str, patch: Mapping[str, Any], accept: str, kind: type[_Decoded]) -> _Decoded:
        body = msgspec.json.encode(patch)
        return await self._call("PATCH", url, accept, kind, query={"fieldManager": "raftq"}, body=body)

    async def _call(
        self,
        method: str,
        url: str,
        accept: str,
        kind: type[_Decoded],
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> _Decoded:
        status, answer = await self._exchange(method, url, accept, query, body)
        if status == 401:  # the kubelet may have replaced the token a moment ago
            self._token.forget()
            status, answer = await self._exchange(method, url, accept, query, body)
        if status not in (200, 201):
            error = _refusal(status, f"{method} {url}", answer)
            if isinstance(error, NotFound | Conflict):
                self.last_success = time.time()
            raise error
        try:
            decoded = msgspec.json.decode(answer, type=kind)
        except ValueError as error:  # msgspec's own, or that it is no UTF-8
            raise ApiUnreachable(f"{method} {url}: the answer is not the API's: {error}") from None
        self.last_success = time.time()
        return decoded

    async def _exchange(
        self, method: str, url: str, accept: str, query: Mapping[str, str] | None, body: bytes | None
    ) -> tuple[int, bytes]:
        headers = {"Accept": accept, **self._token.headers()}
        if body is not None:
            headers["Content-Type"] = "application/merge-patch+json" if method == "PATCH" else "application/json"
        try:
            async with self._session.request(
                method, url, params=query, data=body, headers=headers, allow_redirects=False
            ) as response:
                return response.status, await response.read()
        except TimeoutError:
            raise ApiUnreachable(f"{method} {url}: no answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ApiUnreachable(f"{method} {url}: {error or type(error).__name__}") from None


def _refusal(status: int, request: str, answer: bytes) -> ApiError:
    try:
        reason = msgspec.json.decode(answer, type=Status).message
    except ValueError:
        reason = answer[:200].decode(errors="replace")
    sentence = f"{request}: {status} {reason}"
    match status:
        case 401:
            return Unauthorized(sentence)
        case 403:
            return Forbidden(sentence)
        case 404:
            return NotFound(sentence)
        case 409:
            return Conflict(sentence)
        case _ if 400 <= status < 500 and status not in (408, 429):
            return Invalid(sentence)
        case _:
            return ApiUnreachable(sentence)
