"""What tells the watchdog of `raftq run --server` when COMMAND may run: it asks an agent, again and again.

It is a process between the two, for an HTTP request may take long, and the watchdog must not wait for anything. What
the agent said counts from before it was asked. When it does not answer, nothing is ordered, and the last lease runs
out. Started as `python -m raftq_k8s.cli.following URL TOKEN_FILE DESCRIPTOR`, by the watchdog alone.
"""

import contextlib
import http.client
import json
import select
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

from raftq_k8s.agent.application.watchdog import PACKET_BYTES, boottime

_EVERY_S = 0.25
_TIMEOUT_S = 1.0
_SOON_S = 0.01


class Unanswered(Exception):
    """The agent cannot be reached, or answers with something else than what it was asked for."""


class Agent:
    """The agent that decides, over HTTP."""

    def __init__(self, url: str, token_file: str) -> None:
        """Raises `ValueError` for what is no address."""
        self._host, self._port = _host_and_port(url)
        self._token_file = Path(token_file) if token_file else None

    def ask(self) -> dict[str, Any]:
        return self._request("GET", None)

    def report(self, **what: object) -> dict[str, Any]:
        return self._request("PUT", json.dumps(what))

    def _request(self, method: str, body: str | None) -> dict[str, Any]:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            headers = {"Content-Type": "application/json"}
            if self._token_file is not None:
                headers["Authorization"] = f"Bearer {_token(self._token_file)}"
            connection.request(method, "/v1/application", body, headers)
            answer = connection.getresponse()
            told = json.loads(answer.read())
            if answer.status == 404:
                raise Unanswered("the agent has no application beside it: set its application_mode to exclusive")
            if answer.status != 200:
                raise Unanswered(str(told.get("detail", answer.status)))
            return dict(told)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = (error.strerror if isinstance(error, OSError) else None) or error
            raise Unanswered(f"no agent answers at {self._host}:{self._port}: {reason}") from error
        finally:
            connection.close()


def _host_and_port(url: str) -> tuple[str, int]:
    """Raises `ValueError`."""
    try:
        parts = urlsplit(url if "//" in url else f"//{url}")
        host, port = parts.hostname, parts.port or 7480
    except ValueError:  # of the port, in words of its own
        host, port = None, 0
    if not host or parts.scheme not in ("", "http"):
        raise ValueError(f"{url!r} is no http://HOST:PORT")
    return host, port


def _token(file: Path) -> str:
    """Raises `Unanswered`."""
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or error
        raise Unanswered(f"the token file {file} cannot be read: {reason}") from error


class Following:
    def __init__(self, agent: Agent, watchdog: socket.socket) -> None:
        self._agent = agent
        self._watchdog = watchdog
        self._start = 0
        self._term: int | None = None
        """The term of the current start."""
        self._wanted = False
        self._may_run = False
        self._runs = False
        """The watchdog said so."""
        self._kill_at = 0.0
        self._stops = 0
        self._ending = False
        self._complaint = ""

    def run(self) -> int:
        """Until COMMAND has ended by itself, or this process is asked to end. Returns the exit code."""
        signal.signal(signal.SIGTERM, self._asked_to_end)
        while True:
            try:
                self._look()
                self._complaint = ""
            except Unanswered as error:
                self._complain(str(error))
            code = self._listen(_EVERY_S)
            if code is not None:
                return code
            if self._ending and not self._may_run:
                return 0

    def _asked_to_end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    def _look(self) -> None:
        if self._ending:
            self._end()
            return
        asked_at = boottime()
        state = self._agent.ask()
        if state["wanted"] == "running":
            self._let_run(state, asked_at)
        else:
            self._end()
            if state["state"] == "stopping" and not self._may_run:
                self._agent.report(state="stopped", term=state["term"])

    def _let_run(self, state: dict[str, Any], asked_at: float) -> None:
        if not (self._wanted and self._term == state["term"]):
            self._end()
            if self._may_run:
                return
            self._start, self._term = self._start + 1, state["term"]
            self._wanted = self._may_run = True
        self._kill_at = asked_at + state["lease_left_ms"]
        environment = {"RAFTQ_ROLE": "leader", "RAFTQ_TERM": str(self._term), "RAFTQ_LEADER": state["holder"] or ""}
        order = {"start": self._start, "ask_at": asked_at + state["ask_left_ms"], "kill_at": self._kill_at}
        self._send(order | {"environment": environment})
        if self._runs and state["state"] == "starting":
            self._agent.report(state="promoted", term=self._term)

    def _end(self) -> None:
        self._wanted = False
        if self._may_run:
            self._stops += 1
            self._send({"start": 0, "stop": self._stops, "kill_at": self._kill_at})

    def _send(self, order: dict[str, Any]) -> None:
        self._watchdog.send(json.dumps(order).encode())

    def _listen(self, for_s: float) -> int | None:
        """The exit code of this process, once it is known."""
        until = time.monotonic() + for_s
        while (left_s := until - time.monotonic()) > 0:
            if not select.select([self._watchdog], [], [], left_s)[0]:
                return None
            packet = self._watchdog.recv(PACKET_BYTES)
            if not packet:
                return 1  # the watchdog has ended, and COMMAND with it
            report = json.loads(packet)
            until = min(until, time.monotonic() + _SOON_S)
            if report["start"] == 0 and report["stop"] == self._stops:
                self._may_run = self._runs = False
            elif report["start"] == self._start:
                self._may_run = self._runs = report["running"]
                if not self._runs:
                    self._tell_stopped()
                    if self._ending or not report["asked"]:
                        return int(report["exit"])
                    self._wanted = False
        return None

    def _tell_stopped(self) -> None:
        """At once, so that another leader need not wait; the lease says it as well, only later."""
        with contextlib.suppress(Unanswered):
            self._agent.report(state="stopped", term=self._term)

    def _complain(self, complaint: str) -> None:
        """Once for each trouble, not for each try."""
        if complaint != self._complaint:
            self._complaint = complaint
            print(f"raftq run: {complaint}", file=sys.stderr, flush=True)


def main() -> int:
    url, token_file, descriptor = sys.argv[1:]
    try:
        agent = Agent(url, token_file)
    except ValueError as error:
        print(f"raftq run: --server: {error}", file=sys.stderr)
        return 2
    return Following(agent, socket.socket(fileno=int(descriptor))).run()


if __name__ == "__main__":
    sys.exit(main())
