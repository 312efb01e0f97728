"""The document that describes this face to programs: OpenAPI 3.1, at `/v1/openapi.json`.

By hand where it explains (`described.py`), from the structs where it says what an answer looks like, and from the table
of routes where it says what there is at all: a route without a description is an error, which a test finds. Another
test holds it against what the face really answers. Imported when somebody asks for it.
"""

from collections.abc import Callable, Iterable

import msgspec

from raftq_k8s.api.described import DESCRIBED, STRUCTS, Described, Json
from raftq_k8s.api.routing import Access, ArgumentRoute, Route

_PROBLEM: Json = {
    "description": "RFC 9457",
    "type": "object",
    "properties": {
        "type": {"type": "string", "pattern": "^urn:raftq:problem:[a-z-]+$"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "outcome": {"const": "unknown", "description": "it may have taken effect: read before you repeat it"},
    },
    "required": ["type", "title", "status", "detail"],
}


def document(routes: Iterable[Route | ArgumentRoute], *, version: str, asks_token: Callable[[Access], bool]) -> Json:
    paths: dict[str, Json] = {}
    for route in routes:
        told = _operation(route, DESCRIBED[route.method, route.path], asks_token(route.access))
        paths.setdefault(route.path, {})[route.method.lower()] = told
    _, schemas = msgspec.json.schema_components(STRUCTS, ref_template="#/components/schemas/{name}")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "raftq",
            "version": version,
            "description": "The HTTP face of one agent. HEAD is answered wherever GET is. See docs/http.md.",
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": schemas | {"Problem": _PROBLEM},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route | ArgumentRoute, described: Described, asks_token: bool) -> Json:
    answers = {str(status): told for status, told in described.answers.items()}
    problems = _everywhere(route, described) | dict(described.problems)
    answers |= {str(status): _problem(description) for status, description in sorted(problems.items())}
    told: Json = {"summary": described.summary, "responses": answers}
    if described.parameters:
        told["parameters"] = list(described.parameters)
    if described.body is not None:
        told["requestBody"] = described.body
    if asks_token:
        told["security"] = [{"token": []}]
    return told


def _everywhere(route: Route | ArgumentRoute, described: Described) -> dict[int, str]:
    problems = {
        400: "the request is not what it should be",
        431: "the headers are too large",
        500: "an error of the agent",
    }
    if route.access is not Access.PROBE:
        problems |= {
            401: "the token is missing",
            403: "the token is wrong, or without one this is done from within the pod alone",
            503: "not now; nothing was done",
        }
    if route.access in (Access.WRITE, Access.ADMINISTER):
        problems |= {429: "too much waits already", 504: "the outcome is not known"}
    if described.body is not None:
        problems |= {
            408: "the body is too slow",
            413: "the body is too large",
            422: "the body is not what it should be",
        }
    return problems


def _problem(description: str) -> Json:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": description, "content": content}
