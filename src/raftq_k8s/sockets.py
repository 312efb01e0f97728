"""Sockets to dial with, for aiohttp upon uvloop.

Of a dial whose TLS handshake fails, uvloop closes the descriptor, and does not always say so to the socket that it had
it from. When that is thrown away later it closes the same number again, which is somebody else's by then: another
connection, or a file of the volume.
"""

import socket

from aiohttp import AddrInfoType


class DialledSocket(socket.socket):
    """Closed by whoever says so, and not when it is thrown away: aiohttp closes what did not connect, and the loop what
    did."""

    def __del__(self) -> None:
        pass


def to_dial(address: AddrInfoType) -> socket.socket:
    """`socket_factory` of every connector that may speak TLS."""
    family, kind, protocol, _, _ = address
    return DialledSocket(family, kind, protocol)
