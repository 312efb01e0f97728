"""What a node tells its log: one sentence for each change that a person would want to read about."""

from raftq_k8s.raft.configuration import decode
from raftq_k8s.raft.membership import Member
from raftq_k8s.raft.messages import Entry
from raftq_k8s.raft.output import Accepted, Refused, Standing
from raftq_k8s.raft.types import MemberId


def of_standing(me: MemberId, before: Standing, after: Standing) -> str:
    """Empty where the change is none for people."""
    if after.role == "leader":
        if before.role != "leader":
            return f"{me} is elected leader in term {after.term}"
        return f"{me} leads: the first entry of term {after.term} is committed" if after.established else ""
    if before.role == "leader":
        return f"{me} leads no longer: {_whom(after)} in term {after.term}"
    if after.leader is not None:
        return f"{after.leader} leads in term {after.term}" if after.leader != before.leader else ""
    if after.role == "candidate":
        return f"{me} stands for election in term {after.term}" if before.role != "candidate" else ""
    return f"{before.leader} is not heard any more" if before.leader is not None else ""


def _whom(standing: Standing) -> str:
    return f"{standing.leader} does" if standing.leader is not None else "nobody is known to lead"


def of_greeting(verdict: Accepted | Refused) -> str:
    match verdict:
        case Refused(identity, refusal):
            return f"{identity.member} is not listened to: {refusal.reason}"
        case Accepted(identity):
            return f"{identity.member} is listened to again"


def of_members(entry: Entry) -> str:
    """Of a configuration that is committed."""
    membership = decode(entry.command)
    if membership is None:
        return f"entry {entry.index} tells of members in a way that this release cannot read"
    voters = f"the voters are {_names(membership.voters)}"
    if membership.outgoing:
        voters += f", and {_names(membership.outgoing)} until they take over"
    learners = f"; learning: {_names(membership.learners)}" if membership.learners else ""
    return f"by entry {entry.index} {voters}{learners}"


def of_room(full: bool) -> str:
    if full:
        return "the volume is full: it lives on its reserve, and takes no command that needs room; make some"
    return "the volume has room again"


def _names(members: tuple[Member, ...]) -> str:
    return ", ".join(member.name for member in members)
