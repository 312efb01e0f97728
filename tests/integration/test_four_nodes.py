"""The example of the original, with real processes: they join, the leader is killed, and what was written is kept."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

MAIN = Path(__file__).parents[2] / "examples" / "four_nodes" / "main.py"
WITHIN_S = 60

T = TypeVar("T")


class FourNodes:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.first = _first_of_four_free_ports()
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def start(self) -> int:
        """By the same command as every other; it takes the first free port."""
        port = next(port for port in range(self.first, self.first + 4) if port not in self.processes)
        log = (self.folder / f"{port}.log").open("ab")
        command = [sys.executable, str(MAIN), str(self.folder), str(self.first)]
        self.processes[port] = subprocess.Popen(command, stdout=log, stderr=log)
        self.until(lambda: self.shown(port))
        return port

    def kill(self, port: int) -> None:
        process = self.processes.pop(port)
        process.kill()
        process.wait()

    def terminate(self, port: int) -> int:
        process = self.processes.pop(port)
        process.terminate()
        return process.wait(WITHIN_S)

    def shown(self, port: int) -> dict[str, Any] | None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (URLError, OSError):
            return None

    def leader(self) -> int:
        """Whom all that run follow."""

        def agreed() -> int | None:
            leaders = {(self.shown(port) or {}).get("leader") for port in self.processes}
            leader = leaders.pop()
            return int(leader) if not leaders and leader and int(leader) in self.processes else None

        return self.until(agreed)

    def until_all_vote(self) -> None:
        self.until(lambda: all(len((self.shown(port) or {}).get("voters", ())) == 4 for port in self.processes))

    def replicate(self, document: object) -> None:
        def replicated() -> bool:
            url = f"http://127.0.0.1:{self.leader()}/raft/action/replicateData"
            request = Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
            try:
                with urlopen(request, timeout=15):
                    return True
            except (HTTPError, URLError, OSError):
                return False

        self.until(replicated)

    def until_all_have(self, document: object) -> None:
        self.until(lambda: all((self.shown(port) or {}).get("data") == document for port in self.processes))

    def until(self, condition: Callable[[], T | None]) -> T:
        deadline = time.monotonic() + WITHIN_S
        while time.monotonic() < deadline:
            if found := condition():
                return found
            time.sleep(0.05)
        logs = "\n".join(f"{log.name}:\n{log.read_text()[-3000:]}" for log in sorted(self.folder.glob("*.log")))
        raise AssertionError(f"the condition did not come true in time\n{logs}")


def _first_of_four_free_ports() -> int:
    for first in range(25050, 32000, 4):
        with ExitStack() as held:
            try:
                for port in range(first, first + 4):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("there are no four free ports")


@pytest.fixture
def four(tmp_path: Path) -> Iterator[FourNodes]:
    nodes = FourNodes(tmp_path)
    yield nodes
    for port in list(nodes.processes):
        nodes.kill(port)


def test_four_join_the_leader_is_killed_and_comes_back_and_the_data_is_kept(four: FourNodes) -> None:
    for _ in range(4):
        four.start()
    four.until_all_vote()
    four.replicate({"colour": "blue"})
    four.until_all_have({"colour": "blue"})

    first = four.leader()
    four.kill(first)
    second = four.leader()
    assert second != first
    four.until_all_have({"colour": "blue"})

    four.replicate({"colour": "green"})
    assert four.start() == first
    four.until_all_have({"colour": "green"})
    four.until_all_vote()


def test_a_leader_that_leaves_hands_over_and_all_may_stop_at_once(four: FourNodes) -> None:
    for _ in range(4):
        four.start()
    four.until_all_vote()
    four.replicate({"colour": "blue"})
    first = four.leader()
    assert four.terminate(first) == 1
    assert four.leader() != first

    for port in list(four.processes):
        four.kill(port)
    for _ in range(4):
        four.start()
    four.until_all_have({"colour": "blue"})


def test_what_is_no_message_is_answered_so_and_ends_nothing(four: FourNodes) -> None:
    port = four.start()
    four.leader()
    for action, body, status in ("replicateData", b"{bad", 400), ("noSuchEvent", b"{}", 404):
        with pytest.raises(HTTPError) as refused:
            urlopen(Request(f"http://127.0.0.1:{port}/raft/action/{action}", body), timeout=15)
        assert refused.value.code == status
        refused.value.close()
    assert four.leader() == port
    assert "Traceback" not in (four.folder / f"{port}.log").read_text()


def test_a_torn_file_is_no_fresh_start(four: FourNodes, tmp_path: Path) -> None:
    port = four.start()
    four.leader()
    four.kill(port)
    file = tmp_path / f"{port}.json"
    torn = file.read_text()[:100]
    file.write_text(torn)
    ran = subprocess.run([sys.executable, MAIN, tmp_path, str(four.first)], capture_output=True, text=True, timeout=30)
    assert ran.returncode == 1
    assert "could not be restored" in ran.stderr
    assert file.read_text() == torn
