"""The witness of births: what the ConfigMap NAME-birth shows, and what is to be done about it.

The volumes of a cluster know that it was born; when all of them are lost, nobody does, and a second cluster would begin
in its place, empty, with terms that were used before. So one object outside of the volumes remembers: which cluster was
born, by which record, the highest term that it had a leader in, and from which clusters it was recovered. The chart
makes the ConfigMap without `data`, and only agents write it. `before_birth` and `afterwards` say what comes next, given
what the ConfigMap shows and what the node is; they keep nothing.

The rules:

 1. Every write names the uid and the resourceVersion of the state that it was decided on. Of several writes decided on
    one state the API carries out one (409 for the others), however late each arrives. That is the compare-and-swap by
    which candidates are told apart: whoever is named when the ConfigMap is read again has won, whoever wrote it.
 2. A cluster that is named there is never replaced by another, except by the one that was recovered from it, because a
    person said so. Whoever finds another cluster there than its own says so, and writes nothing.
 3. The term never falls.
 4. What cannot be read was not written by an agent. It is no vacancy: nothing is born, and nobody writes over it, until
    a person has looked.
 5. A member of a cluster from which the named one was recovered leaves it for the new one only while nobody leads it:
    a leader has a quorum, which the recovery took for lost.

The ConfigMap is vacant when it names no `cluster`. So a person who wants a cluster to begin empty takes that key away,
and the terms stay behind, above which it begins.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from raftq_k8s.kube.objects import ConfigMap, ResourceVersion, Uid
from raftq_k8s.raft.birth import Doubtful, Named, Testimony, Vacant
from raftq_k8s.raft.membership import BirthRecord, Member
from raftq_k8s.raft.types import LONGEST_STEP, NO_TERM, ClusterId, Incarnation, MemberId, Term

MOST_FORMER: Final = 16
"""Clusters that this one was recovered from, one after the other, that are remembered."""

_KEYS: Final = ("cluster", "birth", "term", "former")


class Witness(msgspec.Struct, frozen=True):
    """One state of the ConfigMap."""

    name: str
    uid: Uid
    resource_version: ResourceVersion
    birth: BirthRecord | None = None
    """`None`: vacant."""
    term: Term = NO_TERM
    former: tuple[ClusterId, ...] = ()
    damage: str | None = None
    """Why it cannot be understood; the rest says nothing then."""


class Blank(msgspec.Struct, frozen=True):
    """A node of no cluster yet."""

    wish: BirthRecord | None
    """What it would have the ConfigMap say; `None` where that is not to be asked, or not now."""
    highest_term: Term = NO_TERM
    """On the pods, as far as they could be read."""


class Belongs(msgspec.Struct, frozen=True):
    """A node of a cluster."""

    birth: BirthRecord
    leads: Term | None = None
    """The term in which it leads by the clock of this moment."""
    recovered_from: ClusterId | None = None
    silent: bool = False
    """Nobody led for so long that a quorum may be taken for lost."""


class Tell(msgspec.Struct, frozen=True):
    """This is what the blank node has to know."""

    testimony: Testimony


class Write(msgspec.Struct, frozen=True):
    """One conditional write. Then look at what it did, and decide again."""

    on: Witness
    birth: BirthRecord
    term: Term
    former: tuple[ClusterId, ...]


class Join(msgspec.Struct, frozen=True):
    """Its own cluster was given up for this one."""

    cluster: ClusterId


class Report(msgspec.Struct, frozen=True):
    """Only a person can put it right."""

    sentence: str


class Rest(msgspec.Struct, frozen=True):
    """All is as it should be, or somebody else's to do."""


def shown(found: ConfigMap) -> Witness:
    """What a ConfigMap says."""
    meta, data = found.metadata, found.data or {}
    bare = Witness(meta.name, meta.uid, meta.resource_version)
    try:
        return msgspec.structs.replace(
            bare,
            birth=_birth(data),
            term=_term(data),
            former=tuple(ClusterId(each) for each in data.get("former", "").split(",") if each),
        )
    except ValueError as error:
        return msgspec.structs.replace(bare, damage=str(error))


def merge_patch(write: Write) -> dict[str, Any]:
    birth = write.birth
    record = _Record({member.name: member.incarnation for member in birth.members}, birth.first_term)
    values = (birth.cluster, msgspec.json.encode(record).decode(), str(write.term), ",".join(write.former))
    return {
        "metadata": {"uid": write.on.uid, "resourceVersion": write.on.resource_version},
        "data": dict(zip(_KEYS, values, strict=True)),
    }


def before_birth(witness: Witness, node: Blank) -> Tell | Write:
    if witness.damage is not None:
        return Tell(Doubtful(_about_damage(witness)))
    if witness.birth is not None:
        return Tell(Named(witness.birth, _about_loss(witness, witness.birth)))
    highest = max(_believable(witness.term), _believable(node.highest_term))
    if node.wish is None:
        return Tell(Vacant(highest))
    birth = msgspec.structs.replace(node.wish, first_term=max(node.wish.first_term, Term(highest + 1)))
    return Write(witness, birth, birth.first_term, witness.former)


def afterwards(witness: Witness, node: Belongs) -> Write | Join | Report | Rest:
    if witness.damage is not None:
        return Report(_about_damage(witness))
    mine, named = node.birth.cluster, witness.birth.cluster if witness.birth is not None else None
    if named is None:
        may_write = node.leads is not None
    elif named == mine:
        may_write = node.leads is not None or node.recovered_from is not None
    elif named == node.recovered_from:
        may_write = True
    elif node.silent and mine in witness.former:
        return Join(named)
    elif node.leads is not None:
        return Report(_about_another(witness, named, mine))
    else:
        may_write = False
    wanted = Write(
        witness,
        node.birth if named != mine or witness.birth is None else witness.birth,
        max(witness.term, node.birth.first_term, _believable(node.leads or NO_TERM)),
        _with(witness.former, node.recovered_from),
    )
    right = (named, witness.term, witness.former) == (mine, wanted.term, wanted.former)
    return wanted if may_write and not right else Rest()


def _with(former: tuple[ClusterId, ...], one: ClusterId | None) -> tuple[ClusterId, ...]:
    return former if one is None or one in former else (*former, one)[-MOST_FORMER:]


# -------------------------------------------------------------------------------------------------- what it consists of


class _Record(msgspec.Struct, frozen=True, rename="camel"):
    """A birth record, for people to read."""

    members: dict[MemberId, Incarnation]
    first_term: Term


def _birth(data: Mapping[str, str]) -> BirthRecord | None:
    """Raises `ValueError`."""
    cluster = data.get("cluster", "")
    if not cluster:
        return None
    try:
        record = msgspec.json.decode(data.get("birth", ""), type=_Record)
    except ValueError as error:  # msgspec's own, too
        raise ValueError(f"no birth record can be read there: {error}") from None
    members = tuple(Member(name, record.members[name]) for name in sorted(record.members))
    birth = BirthRecord(ClusterId(cluster), members, record.first_term)
    if not birth.is_possible:
        raise ValueError("its birth record is one that no agent wrote")
    return birth


def _term(data: Mapping[str, str]) -> Term:
    """Raises `ValueError`."""
    text = data.get("term", "") or "0"
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > LONGEST_STEP:
        raise ValueError(f"{text[:40]!r} is no term")
    return Term(int(text))


def _believable(term: Term) -> Term:
    """No cluster can begin above what is further away than Raft would follow: then no leader wrote it."""
    return term if term < LONGEST_STEP else NO_TERM


# ------------------------------------------------------------------------------------------------- what people are told


def _about_loss(witness: Witness, birth: BirthRecord) -> str:
    return (
        f"the ConfigMap {witness.name} names cluster {birth.cluster}, but the volumes here are empty: no second one is "
        f"born in its place. Bring its volumes back, or restore a backup; to begin empty instead: {_vacate(witness)}"
    )


def _about_damage(witness: Witness) -> str:
    return (
        f"the ConfigMap {witness.name} cannot be understood ({witness.damage}): only agents write its data. "
        f"Take it away: kubectl patch configmap {witness.name} --type merge --patch '{{\"data\":null}}'"
    )


def _about_another(witness: Witness, named: ClusterId, mine: ClusterId) -> str:
    return (
        f"the ConfigMap {witness.name} names cluster {named}, and this is the leader of cluster {mine}: see to it that "
        f"the other one is gone for good, then: {_vacate(witness)}"
    )


def _vacate(witness: Witness) -> str:
    return f'kubectl patch configmap {witness.name} --type merge --patch \'{{"data":{{"cluster":null}}}}\''
