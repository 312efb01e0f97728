"""Whom `raftq run --server` asks, what it says when that cannot be, and what it lets the watchdog do by the answers."""

import json
import socket
import time

import pytest

from raftq_k8s.agent.application.watchdog import PACKET_BYTES, boottime
from raftq_k8s.cli.following import Agent, Following, Unanswered

SLOW_S = 0.05


class SlowAgent:
    """Its answers take their time."""

    def __init__(self):
        self.state = {
            "wanted": "running",
            "state": "starting",
            "term": 7,
            "holder": "raftq-0",
            "lease_left_ms": 900.0,
            "ask_left_ms": 400.0,
        }
        self.reports = []

    def ask(self):
        time.sleep(SLOW_S)
        return self.state

    def report(self, **what):
        self.reports.append(what)
        return self.state


@pytest.fixture
def sockets():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def test_a_lease_counts_from_before_the_question(sockets):
    ours, watchdog = sockets
    before = boottime()
    Following(SlowAgent(), ours)._look()
    order = json.loads(watchdog.recv(PACKET_BYTES))
    assert order["start"] == 1
    assert order["environment"]["RAFTQ_TERM"] == "7"
    assert before + 900.0 <= order["kill_at"] < before + 900.0 + SLOW_S * 1000
    assert before + 400.0 <= order["ask_at"] < before + 400.0 + SLOW_S * 1000


def test_it_is_reported_as_promoted_once_it_runs_and_as_stopped_once_it_does_not(sockets):
    ours, watchdog = sockets
    agent = SlowAgent()
    following = Following(agent, ours)
    following._look()
    assert agent.reports == []
    watchdog.send(json.dumps({"start": 1, "running": True}).encode())
    following._listen(0.02)
    following._look()
    assert agent.reports == [{"state": "promoted", "term": 7}]
    agent.state = agent.state | {"wanted": "stopped", "state": "stopping"}
    following._look()  # it is asked to end, and runs
    assert len(agent.reports) == 1
    watchdog.send(json.dumps({"start": 1, "running": False, "exit": 0, "asked": True}).encode())
    following._listen(0.02)
    assert agent.reports[1:] == [{"state": "stopped", "term": 7}]


def test_another_term_is_another_start_and_waits_for_the_end_of_the_first(sockets):
    ours, watchdog = sockets
    agent = SlowAgent()
    following = Following(agent, ours)
    following._look()
    agent.state = agent.state | {"term": 9}
    following._look()
    following._look()
    orders = [json.loads(watchdog.recv(PACKET_BYTES)) for _ in range(3)]
    assert [order["start"] for order in orders] == [1, 0, 0]
    watchdog.send(json.dumps({"start": 1, "running": False, "exit": 0, "asked": True}).encode())
    following._listen(0.02)
    following._look()
    assert json.loads(watchdog.recv(PACKET_BYTES))["start"] == 2


@pytest.mark.parametrize("url", ["", "http://", "ftp://raftq", "https://raftq", "http://raftq:http", "http://[::1"])
def test_what_is_no_address_is_named_as_such(url):
    with pytest.raises(ValueError, match="is no http://HOST:PORT"):
        Agent(url, "")


def test_a_token_file_that_cannot_be_read_is_no_agent_that_does_not_answer(tmp_path):
    with pytest.raises(Unanswered, match=r"^the token file .*/none cannot be read: No such file or directory$"):
        Agent("127.0.0.1:1", str(tmp_path / "none")).ask()
