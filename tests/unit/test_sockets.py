"""What dials: it closes nothing that is somebody else's by then."""

import os
import socket
from pathlib import Path

import pytest

from raftq_k8s.agent.application import webhook
from raftq_k8s.client import exchange
from raftq_k8s.kube import client
from raftq_k8s.sockets import to_dial
from raftq_k8s.transport import websocket

ADDRESS = (socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 1))


def test_a_socket_that_is_thrown_away_closes_nothing():
    sock = to_dial(ADDRESS)
    descriptor = sock.fileno()
    os.close(descriptor)  # as uvloop does, without a word to the socket
    with Path(os.devnull).open("rb") as somebody_else:
        assert somebody_else.fileno() == descriptor
        del sock
        os.fstat(descriptor)


def test_a_socket_is_closed_by_whoever_says_so():
    sock = to_dial(ADDRESS)
    descriptor = sock.fileno()
    sock.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize("dials", [websocket, client, exchange, webhook], ids=lambda module: module.__name__)
def test_whatever_may_speak_tls_dials_with_such_a_socket(dials):
    text = Path(dials.__file__).read_text()
    assert text.count("TCPConnector(") == text.count("socket_factory=to_dial") == text.count("ClientSession(") == 1
