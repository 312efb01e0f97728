"""What a process leaves on its volume for the next one, and what that makes of it."""

import asyncio
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from raftq_k8s.agent import before_the_start, fencing
from raftq_k8s.agent.before_the_start import Fenced, Kind
from raftq_k8s.node.status import UNSTARTED, MemberStatus, NodeStatus
from raftq_k8s.raft.persistence import Restored
from raftq_k8s.raft.types import ClusterId, Incarnation, MemberId, Term
from raftq_k8s.storage.sqlite import SqliteVolume

ME = MemberId("raftq-0")
HERE = ClusterId("7f3c")
OTHERS = ("a:7480", "b:7480")


async def led(cluster: ClusterId, others: tuple[str, ...]) -> bool:
    return (cluster, others) == (HERE, OTHERS)


async def not_led(cluster: ClusterId, others: tuple[str, ...]) -> bool:
    return False


def opened(data: Path) -> Restored:
    with closing(SqliteVolume(data, ME)) as volume:
        return volume.open()


def files(data: Path) -> list[Path]:
    return list(data.iterdir())


def fenced(data: Path, kind: Kind) -> Incarnation:
    """The volume was used, and then turned away."""
    incarnation = opened(data).incarnation
    before_the_start.note(data, Fenced(kind, HERE, incarnation, OTHERS))
    return incarnation


async def test_the_volume_of_a_removed_process_is_archived(tmp_path: Path) -> None:
    former = fenced(tmp_path, "removed")
    await before_the_start.tidy(tmp_path, not_led)
    assert opened(tmp_path).incarnation != former
    assert opened(tmp_path / "archive" / f"{former}-removed").incarnation == former


async def test_it_is_archived_once(tmp_path: Path) -> None:
    fenced(tmp_path, "removed")
    await before_the_start.tidy(tmp_path, not_led)
    fresh = opened(tmp_path).incarnation
    await before_the_start.tidy(tmp_path, not_led)
    assert opened(tmp_path).incarnation == fresh


async def test_a_volume_that_was_rolled_back_is_kept_until_somebody_can_take_its_member_in(tmp_path: Path) -> None:
    former = fenced(tmp_path, "rolled-back")
    await before_the_start.tidy(tmp_path, not_led)
    assert opened(tmp_path).incarnation == former
    await before_the_start.tidy(tmp_path, led)
    assert opened(tmp_path).incarnation != former


async def test_what_was_said_of_another_volume_is_not_said_of_this_one(tmp_path: Path) -> None:
    fenced(tmp_path, "removed")
    for file in files(tmp_path):
        if file.name != "raftq.fenced":
            file.unlink()
    fresh = opened(tmp_path).incarnation
    await before_the_start.tidy(tmp_path, led)
    assert opened(tmp_path).incarnation == fresh
    assert not (tmp_path / "raftq.fenced").exists()


async def test_a_note_that_is_torn_changes_nothing(tmp_path: Path) -> None:
    former = fenced(tmp_path, "removed")
    (tmp_path / "raftq.fenced").write_bytes(b'{"kind": "rem')
    await before_the_start.tidy(tmp_path, led)
    assert opened(tmp_path).incarnation == former


async def test_on_a_blank_volume_or_none_there_is_nothing_to_do(tmp_path: Path) -> None:
    await before_the_start.tidy(tmp_path, led)
    await before_the_start.tidy(tmp_path / "nothing", led)
    assert files(tmp_path) == []


def test_the_one_cluster_to_join_is_remembered_until_it_may_be_any(tmp_path: Path) -> None:
    assert before_the_start.joins_only(tmp_path) is None
    before_the_start.join_only(tmp_path, HERE)
    assert before_the_start.joins_only(tmp_path) == HERE
    before_the_start.join_any(tmp_path)
    assert before_the_start.joins_only(tmp_path) is None


def test_from_which_cluster_this_one_was_recovered_is_remembered(tmp_path: Path) -> None:
    assert before_the_start.recovery_of(tmp_path) is None
    recovered = before_the_start.Recovered(ClusterId("new"), out_of=HERE)
    before_the_start.note_recovery(tmp_path, recovered)
    assert before_the_start.recovery_of(tmp_path) == recovered
    (tmp_path / "raftq.recovered").write_bytes(b'{"cluster":')
    assert before_the_start.recovery_of(tmp_path) is None


class Node:
    """One that is turned away as soon as the test says so."""

    def __init__(self, *, caught_up: bool) -> None:
        self.kind: str | None = None
        self.caught_up = caught_up

    def status(self) -> NodeStatus:
        return msgspec.structs.replace(
            UNSTARTED,
            member=ME,
            cluster=HERE,
            waiting_for=None,
            term=Term(1),
            caught_up=self.caught_up,
            incarnation=Incarnation("i0"),
            fenced=self.kind,
        )

    def members(self) -> tuple[MemberStatus, ...]:
        return tuple(
            MemberStatus(MemberId(address), Incarnation("i"), "voter", True, None, None, None, None, address)
            for address in OTHERS
        )


async def watched(node: Node, data: Path, is_led: before_the_start.IsLed) -> list[str]:
    """What came of it, after some looks."""
    begun: list[str] = []
    watching = asyncio.create_task(fencing.watch(node, data, is_led, lambda: begun.append("anew"), 0.001))
    done, _ = await asyncio.wait({watching}, timeout=0.2)
    watching.cancel()
    for each in done:
        each.result()
    return begun


@pytest.mark.parametrize("kind", [None, "version", "older-process"])
async def test_a_node_that_takes_part_or_may_do_so_again_is_left_alone(tmp_path: Path, kind: str | None) -> None:
    node = Node(caught_up=False)
    node.kind = kind
    assert await watched(node, tmp_path, led) == []
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("kind", "is_led", "caught_up", "begun"),
    [
        ("removed", not_led, False, ["anew"]),
        ("removed", not_led, True, []),
        ("rolled-back", not_led, False, []),
        ("rolled-back", led, False, ["anew"]),
    ],
)
async def test_one_that_took_part_in_nothing_yet_begins_anew_and_any_other_leaves_a_note(
    tmp_path: Path, kind: Kind, is_led: before_the_start.IsLed, caught_up: bool, begun: list[str]
) -> None:
    node = Node(caught_up=caught_up)
    node.kind = kind
    assert await watched(node, tmp_path, is_led) == begun
    assert (tmp_path / "raftq.fenced").exists()
