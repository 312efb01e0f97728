"""A taken port is noticed before anything else happens."""

import socket

import pytest

from raftq_k8s.agent.listening import Door, check_free
from raftq_k8s.agent.settings import SettingsError


@pytest.fixture
def taken():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", ""])
def test_a_port_that_somebody_listens_on_is_refused(taken, host):
    with pytest.raises(SettingsError, match=f"cannot listen for peers on port {taken}.*Address already in use"):
        check_free(Door("peers", host, taken))


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(SettingsError, match="cannot listen for HTTP on port 7480 of 192"):
        check_free(Door("HTTP", "192.0.2.1", 7480))


def test_a_port_is_free_though_an_old_connection_of_it_still_winds_down(taken):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server, _ = listener.accept()
        server.close()  # first: its side of the connection stays in TIME_WAIT
        client.close()
    check_free(Door("peers", "127.0.0.1", port))


@pytest.fixture
def free():
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


@pytest.mark.parametrize(
    ("raft_host", "http_host"),
    [("127.0.0.1", "127.0.0.1"), ("", "127.0.0.1"), ("127.0.0.1", ""), ("", ""), ("0.0.0.0", "127.1")],
)
def test_peers_and_http_cannot_share_a_port(free, raft_host, http_host):
    with pytest.raises(SettingsError, match=f"cannot listen for HTTP on port {free}.*in use.*for peers too"):
        check_free(Door("peers", raft_host, free), Door("HTTP", http_host, free))


def test_one_port_of_two_addresses_is_two_doors(free):
    check_free(Door("peers", "127.0.0.1", free), Door("HTTP", "127.0.0.2", free))
    check_free(Door("peers", "127.0.0.1", free), Door("HTTP", "127.0.0.2", free))  # and nothing of it is left


def test_an_address_that_is_found_twice_is_tried_once(free, monkeypatch):
    found = socket.getaddrinfo("127.0.0.1", free, type=socket.SOCK_STREAM)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found * 2)
    check_free(Door("peers", "localhost", free))


@pytest.mark.parametrize("host", ["a..b", "a" * 64 + ".example"])
def test_what_is_no_host_at_all_is_refused(host):
    with pytest.raises(SettingsError, match="cannot listen for HTTP on"):
        check_free(Door("HTTP", host, 7480))
