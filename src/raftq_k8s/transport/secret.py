"""A secret that all members share: each side of a new connection proves that it knows it, and never says it.

The dialler sends a random challenge with its request. The listener answers with one of its own and a keyed hash of
both; the dialler checks it and answers with another. The hash names the side that made it, so that nobody's proof can
be sent back to him, and holds both challenges, so that none serves twice. Only then does either say who it is.

It says who may open a connection. What is said on it afterwards can be read, and altered, by whoever sits in between:
where that is to be feared, TLS (`tls.py`) is what keeps them out.
"""

import hmac
import re
import secrets
from pathlib import Path

from aiohttp import ClientWebSocketResponse, WSMsgType
from aiohttp.web import WebSocketResponse

from raftq_k8s.transport.files import Files, Unusable

CHALLENGE_HEADER = "Raftq-Challenge"
LISTENER, DIALLER = b"raftq listener ", b"raftq dialler "

_CHALLENGE_BYTES = 32
_SHORTEST = 16


class Unproven(Exception):
    """The other side did not show that it knows the secret."""


class Secret:
    """Read again when its file changes. Each line is one: the first is what this side proves, and all are accepted, so
    that a new one can be brought to every member before it is used.

    Raises `files.Unusable` when it is made.
    """

    def __init__(self, path: Path) -> None:
        self._keys = Files("secrets of the members", [path], lambda: _read(path))

    def prove(self, side: bytes, challenges: bytes) -> bytes:
        return _proof(self._keys.current()[0], side, challenges)

    def is_known(self, side: bytes, challenges: bytes, proof: bytes) -> bool:
        """Whether whoever made that proof, as that side, knows one of them. Takes as long whatever is wrong with it."""
        fits = [hmac.compare_digest(_proof(key, side, challenges), proof) for key in self._keys.current()]
        return any(fits)


def new_challenge() -> str:
    """To be sent in `CHALLENGE_HEADER`."""
    return secrets.token_hex(_CHALLENGE_BYTES)


def is_challenge(text: str) -> bool:
    return re.fullmatch(f"[0-9a-f]{{{2 * _CHALLENGE_BYTES}}}", text) is not None


async def prove_to_dialler(websocket: WebSocketResponse, secret: Secret, dialled_with: str) -> None:
    """The listener's side. Raises `Unproven` when the dialler does not answer in kind; bounded by its caller."""
    challenge = secrets.token_bytes(_CHALLENGE_BYTES)
    challenges = dialled_with.encode() + challenge
    await websocket.send_bytes(challenge + secret.prove(LISTENER, challenges))
    if not secret.is_known(DIALLER, challenges, await _received(websocket)):
        raise Unproven("you do not know the secret of the members")


async def prove_to_listener(websocket: ClientWebSocketResponse, secret: Secret, dialled_with: str) -> None:
    """The dialler's side. Raises `Unproven` when the listener does not know the secret; bounded by its caller."""
    shown = await _received(websocket)
    challenges = dialled_with.encode() + shown[:_CHALLENGE_BYTES]
    if not secret.is_known(LISTENER, challenges, shown[_CHALLENGE_BYTES:]):
        raise Unproven("you do not know the secret of the members")
    await websocket.send_bytes(secret.prove(DIALLER, challenges))


async def _received(websocket: WebSocketResponse | ClientWebSocketResponse) -> bytes:
    message = await websocket.receive()
    return bytes(message.data) if message.type is WSMsgType.BINARY else b""


def _proof(key: bytes, side: bytes, challenges: bytes) -> bytes:
    return hmac.digest(key, side + challenges, "sha256")


def _read(path: Path) -> tuple[bytes, ...]:
    lines = path.read_bytes().split(b"\n")
    keys = tuple(filter(None, map(bytes.strip, lines)))
    if not keys:
        raise Unusable(f"{path} holds no secret")
    if len(min(keys, key=len)) < _SHORTEST:
        raise Unusable(f"{path} holds a secret of less than {_SHORTEST} characters: it could be found by trying")
    return keys
