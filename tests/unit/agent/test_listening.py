"""A taken port is noticed before anything else happens."""

import socket

import pytest

from raftq_k8s.agent.listening import check_free
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
        check_free("peers", host, taken)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(SettingsError, match="cannot listen for HTTP on port 7480 of 192"):
        check_free("HTTP", "192.0.2.1", 7480)


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
    check_free("peers", "127.0.0.1", port)
