"""Whom a member listens to: the judgement of a peer's hello.

A member of the configuration is listened to under the incarnation that the configuration names: under its old name, but
with a new volume, it has forgotten its votes. Of its processes the youngest is listened to, and the highest generation
seen is synced before anything that process says has an effect: so of two processes on one volume the older one is
fenced by everybody who has met the younger one.
"""

from raftq_k8s.raft.core import Core
from raftq_k8s.raft.membership import Hello, Identity, Refusal
from raftq_k8s.raft.output import Accepted, Refused
from raftq_k8s.raft.persistence import SeenPeer


def on_hello(core: Core, hello: Hello) -> None:
    """Judge a process that says hello; the verdict leaves with an output, an acceptance after what it rests on is
    synced."""
    identity = hello.identity
    refusal = _objection(core, identity)
    if refusal is not None:
        core.ignore(f"hello-{refusal.kind}")
        core.send(Refused(identity, refusal))
        return
    youngest = SeenPeer(identity.member, identity.incarnation, identity.generation, identity.boot)
    if core.seen.get(identity.member) != youngest:
        core.seen[identity.member] = youngest
        core.change_hard_state()
    core.send(Accepted(identity))


def _objection(core: Core, identity: Identity) -> Refusal | None:
    me, name = core.identity, identity.member
    if not identity.is_possible:
        return Refusal("malformed", f"no correct process has generation {identity.generation} of {name}")
    if name == me.member:
        return Refusal("own-name", f"{name} is this node's own name: two nodes are configured with one name")
    if identity.cluster not in (None, me.cluster):
        return Refusal("other-cluster", f"{name} belongs to cluster {identity.cluster}, this node to {me.cluster}")
    if name not in core.peers:
        return Refusal("no-member", f"{name} is no member of cluster {me.cluster}; members can't be added yet")
    if identity.incarnation != core.configuration.incarnations[name]:
        return Refusal(
            "incarnation",
            f"lost members can't be replaced yet: restore the volume of {name} with incarnation "
            f"{core.configuration.incarnations[name]}",
        )
    return _older_process(core, identity)


def _older_process(core: Core, identity: Identity) -> Refusal | None:
    seen = core.seen.get(identity.member)
    if seen is None or (seen.generation, seen.boot) == (identity.generation, identity.boot):
        return None
    if identity.generation > seen.generation:
        return None
    return Refusal(
        "older-process",
        f"a younger process was seen (generation {seen.generation}, not {identity.generation}): do two use one volume, "
        "or an old copy?",
    )
