"""To whoever leads: 307, which makes a client send the same request there, method and body included (RFC 9110
§15.4.8).

A node that does not lead forwards a write over its peer's stream, or reads with its leader's help. A client that would
rather speak to the leader itself says `?redirect=1`. Some things only a leader can do; those are always sent on.
"""

from raftq_k8s.api.answers import Answer
from raftq_k8s.api.problems import Problem, no_leader
from raftq_k8s.api.requests import Request
from raftq_k8s.api.views import Node


def asked_elsewhere(node: Node, request: Request) -> Answer | None:
    """Where `?redirect=1` asks for it, and another node leads, the way there. Raises `Problem`."""
    if not request.query_string:
        return None
    wish = request.query.get("redirect", "0")
    if wish not in ("0", "1"):
        raise Problem(400, "bad-redirect", "Bad redirect", "redirect is 1 or 0")
    return led_elsewhere(node, request) if wish == "1" else None


def led_elsewhere(node: Node, request: Request) -> Answer | None:
    """The way to the leader; `None` where this node leads. Raises `Problem` where nobody does, or it has no address."""
    if node.standing().role == "leader":
        return None
    address = node.status().leader_http
    if not address:
        raise no_leader()
    location = f"http://{address}{request.target}"
    return Answer(307, b"", headers=f"Location: {location}\r\n".encode("ascii", "replace"))
