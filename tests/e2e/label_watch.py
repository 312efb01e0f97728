"""A thread that watches the pods of a namespace and writes the label history.

It goes on where it stopped, so that nothing is missed; only when the API no longer knows that place does it list anew,
and the history says so. While the API server is away it asks many times a second: it should be there before the agents
are, so that their first writes are seen too.
"""

import http.client
import json
import threading
import time
from typing import Any

from cluster_access import Access
from label_history import Changed, Deleted, Event, Listed, Pod, State, states, told, two_leaders

_SILENCE_S = 90.0
"""The API sends a bookmark every minute."""
_RETRY_S = 0.02


class _Expired(Exception):
    """The API no longer knows the place where the watch stopped."""


class LabelWatch:
    def __init__(self, access: Access, namespace: str) -> None:
        self._port = access.proxy_port
        self._path = f"/api/v1/namespaces/{namespace}/pods"
        self._history: list[Event] = []
        self._position: str | None = None
        self._connection: http.client.HTTPConnection | None = None
        self._ended = threading.Event()
        self._listed = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"watch {namespace}")

    def start(self) -> None:
        self._thread.start()
        assert self._listed.wait(10), "the API did not list the pods"

    def stop(self) -> None:
        self._ended.set()
        if self._connection is not None and self._connection.sock is not None:
            self._connection.sock.close()

    @property
    def history(self) -> list[Event]:
        return list(self._history)

    @property
    def pods(self) -> State:
        """As last seen."""
        state: State = {}
        for _, now in states(self.history):
            state = now
        return state

    def story(self) -> str:
        return told(self.history)

    def assert_never_two_leaders(self) -> None:
        assert self._thread.is_alive(), "the watch has ended: nothing is proved"
        overlaps = two_leaders(self.history)
        assert not overlaps, f"two pods with the leader's label: {overlaps}\n{self.story()}"

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                if self._position is None:
                    self._list()
                self._follow()
            except _Expired:
                self._position = None
            except (OSError, http.client.HTTPException, ValueError, AttributeError):
                # Away; or, as http.client puts it with the last two, closed by `stop` in the middle of a read.
                self._ended.wait(_RETRY_S)

    def _open(self, query: str, timeout_s: float) -> http.client.HTTPResponse:
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=timeout_s)
        self._connection.request("GET", self._path + query)
        response = self._connection.getresponse()
        if response.status == 410:
            raise _Expired
        if response.status != 200:
            raise OSError(f"{response.status}")
        return response

    def _list(self) -> None:
        found = json.loads(self._open("", 5.0).read())
        self._history.append(Listed(time.monotonic(), tuple(map(Pod.of, found["items"]))))
        self._position = found["metadata"]["resourceVersion"]
        self._listed.set()

    def _follow(self) -> None:
        query = f"?watch=1&allowWatchBookmarks=true&resourceVersion={self._position}"
        for line in self._open(query, _SILENCE_S):
            self._note(json.loads(line))

    def _note(self, event: dict[str, Any]) -> None:
        at, shown = time.monotonic(), event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._history.append(Changed(at, Pod.of(shown)))
            case "DELETED":
                self._history.append(Deleted(at, Pod.of(shown)))
            case "ERROR" if shown.get("code") == 410:
                raise _Expired
            case "ERROR":
                raise OSError(str(shown))
            case _:
                assert event["type"] == "BOOKMARK", event
        self._position = shown["metadata"]["resourceVersion"]
