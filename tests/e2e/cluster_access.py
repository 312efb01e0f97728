"""The cluster of the KUBECONFIG, as the tests reach it: kubectl, helm, and the API over plain HTTP.

One `kubectl proxy` for all raw requests, so that every kind of credentials works. Pods and Services are reached at
their own addresses where this machine has a way to them, which is also the only way that needs no API server; else by
the API server's own proxy.
"""

import http.client
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from deadlines import Unanswered

REPOSITORY = Path(__file__).parents[2]
CHART = REPOSITORY / "deploy" / "helm" / "raftq"
MANIFESTS = REPOSITORY / "deploy" / "manifests"
HTTP_PORT = 7480

Object = dict[str, Any]


class CommandFailed(Exception):
    pass


class Answer(NamedTuple):
    status: int
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class Place(NamedTuple):
    """Where HTTP is spoken: a pod or a Service."""

    kind: str
    """`pods` or `services`"""
    namespace: str
    name: str
    address: str
    port: int = HTTP_PORT

    @property
    def proxy_path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/{self.kind}/{self.name}:{self.port}/proxy"


def run(*words: str | Path, feed: str | None = None, timeout_s: float = 120.0) -> str:
    done = subprocess.run(
        [str(word) for word in words], input=feed, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode:
        raise CommandFailed(f"{' '.join(map(str, words))}\n{done.stdout}{done.stderr}")
    return done.stdout


def kubectl(*words: str | Path, feed: str | None = None, timeout_s: float = 120.0) -> str:
    return run("kubectl", *words, feed=feed, timeout_s=timeout_s)


def helm(*words: str | Path, timeout_s: float = 180.0) -> str:
    return run("helm", *words, timeout_s=timeout_s)


def exchange(
    host: str, port: int, method: str, path: str, body: bytes | None, timeout_s: float, headers: Mapping[str, str]
) -> Answer:
    """One request over a connection of its own. Raises `Unanswered`."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Unanswered(f"{method} {host}:{port}{path}: {error or type(error).__name__}") from None
    finally:
        connection.close()


class Access:
    def __init__(self, proxy_port: int) -> None:
        self.proxy_port = proxy_port
        self._reachable: dict[str, bool] = {}
        """Whether this machine has a way to the addresses of pods, of Services."""

    def api(self, method: str, path: str, body: Object | None = None, timeout_s: float = 5.0) -> Answer:
        payload = None if body is None else json.dumps(body).encode()
        return exchange("127.0.0.1", self.proxy_port, method, path, payload, timeout_s, {})

    def reaches(self, place: Place) -> bool:
        """Asked once for pods and once for Services, when one of them is known to listen."""
        if place.kind not in self._reachable:
            try:
                socket.create_connection((place.address, place.port), timeout=3).close()
                self._reachable[place.kind] = True
            except OSError:
                self._reachable[place.kind] = False
        return self._reachable[place.kind]

    def ask(self, place: Place, method: str, path: str, value: Any = None, timeout_s: float = 2.0) -> Answer:
        payload = None if method == "GET" else json.dumps(value).encode()
        headers = {} if payload is None else {"Content-Type": "application/json"}
        if self.reaches(place):
            return exchange(place.address, place.port, method, path, payload, timeout_s, headers)
        return exchange("127.0.0.1", self.proxy_port, method, place.proxy_path + path, payload, timeout_s, headers)


@contextmanager
def open_access() -> Iterator[Access]:
    process = subprocess.Popen(
        ["kubectl", "proxy", "--port=0", "--address=127.0.0.1", "--reject-methods=", "--reject-paths=^$"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, f"kubectl proxy said {line!r}"
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield Access(int(found[1]))
    finally:
        process.terminate()
        process.wait(10)


class Image(NamedTuple):
    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> "Image":
        name, _, digest = text.partition("@")
        repository, colon, tag = name.rpartition(":")
        if not colon or "/" in tag:
            repository, tag = name, "" if digest else "latest"
        return cls(repository, tag, digest)

    @property
    def settings(self) -> list[str]:
        """The only values that a release here is given."""
        given = {"repository": self.repository, "tag": self.tag, "digest": self.digest}
        return [word for key, value in given.items() if value for word in ("--set-string", f"image.{key}={value}")]


def missing() -> str | None:
    """Why nothing here can run, as one sentence."""
    if not os.environ.get("KUBECONFIG"):
        return "KUBECONFIG is not set: there is no cluster to test on"
    if not os.environ.get("RAFTQ_E2E_IMAGE"):
        return "RAFTQ_E2E_IMAGE is not set: which image, known to the cluster's nodes, is to be tested?"
    for program in ("kubectl", "helm"):
        if not any(os.access(Path(folder) / program, os.X_OK) for folder in os.environ["PATH"].split(os.pathsep)):
            return f"there is no {program} on the PATH"
    return None
