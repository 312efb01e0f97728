"""What a person or a program asks for in a small JSON body, of a shape that is known beforehand."""

from typing import Generic, TypeVar

import msgspec

from raftq_k8s.api.bodies import Bodies
from raftq_k8s.api.problems import Problem
from raftq_k8s.api.requests import Request

LIMIT_BYTES = 16 << 10

_T = TypeVar("_T")


class JsonBodies(Generic[_T]):
    def __init__(self, shape: type[_T]) -> None:
        """An empty body counts as an empty object."""
        self._bodies = Bodies(LIMIT_BYTES)
        self._decode = msgspec.json.Decoder(shape).decode

    async def read(self, request: Request) -> _T:
        """Raises `Problem`."""
        body = await self._bodies.read(request)
        try:
            return self._decode(body.strip() or b"{}")
        except msgspec.ValidationError as error:
            raise Problem(422, "bad-body", "Bad body", f"{error}; nothing was done") from None
        except (ValueError, RecursionError) as error:
            raise Problem(400, "not-json", "Not JSON", f"the body is no JSON: {error}; nothing was done") from None
