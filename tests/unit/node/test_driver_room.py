"""A node whose volume is full takes nothing that needs room, and leads only where nobody else can."""

import pytest
from driver_cluster import DriverCluster

from raftq_k8s.node.forwarding import Refused
from raftq_k8s.node.room import needs_room
from raftq_k8s.state import commands
from raftq_k8s.state.commands import (
    Applied,
    CloseSession,
    Command,
    Delete,
    Elapse,
    InSession,
    Noted,
    OpenSession,
    Patch,
    Pause,
    Put,
    PutIf,
    Replace,
    Resume,
    Starting,
    Stopped,
    Transaction,
)

RED = commands.encode(Put("colour", b'"red"'))
NO_COLOUR = commands.encode(Delete("colour"))


def test_53_a_leader_whose_volume_is_full_hands_over_to_a_voter_with_room_and_loses_no_command() -> None:
    cluster = DriverCluster("a", "b", "c")
    full = cluster.elect()
    other_full, roomy = cluster.others(full)
    cluster[other_full].driver.room_changed(True, cluster.now)
    cluster.settle()
    cluster[full].driver.room_changed(True, cluster.now)
    token = cluster.submit(full, RED)
    assert cluster.elect() == roomy
    cluster.advance(500)
    assert isinstance(cluster[full].resolved[token], Applied)


def test_53_without_room_anywhere_it_refuses_what_needs_some_and_goes_on_leading() -> None:
    cluster = DriverCluster("a", "b", "c")
    leader = cluster.elect()
    cluster.submit(leader, RED)
    term = cluster[leader].driver.standing.term
    for held in cluster.nodes.values():
        held.driver.room_changed(True, cluster.now)
        cluster.settle()
    here = cluster.submit(leader, RED)
    there = cluster.submit(cluster.others(leader)[0], RED)
    smaller = cluster.submit(leader, NO_COLOUR)
    cluster.advance(5_000)
    assert cluster[leader].resolved[here] == cluster[cluster.others(leader)[0]].resolved[there] == Refused("full")
    assert isinstance(cluster[leader].resolved[smaller], Applied)
    assert (cluster.elect(), cluster[leader].driver.standing.term) == (leader, term)
    assert cluster[leader].driver.status(cluster.now).volume_full


def test_with_room_again_commands_are_taken_again() -> None:
    cluster = DriverCluster("a")
    cluster.elect()
    cluster["a"].driver.room_changed(True, cluster.now)
    refused = cluster.submit("a", RED)
    cluster["a"].driver.room_changed(False, cluster.now)
    taken = cluster.submit("a", RED)
    assert cluster["a"].resolved[refused] == Refused("full")
    assert isinstance(cluster["a"].resolved[taken], Applied)
    notes = [note for actions in cluster["a"].history for note in actions.notes if "volume" in note]
    assert [note.split(":")[0] for note in notes] == ["the volume is full", "the volume has room again"]


def test_a_peer_that_has_room_again_is_handed_over_to() -> None:
    cluster = DriverCluster("a", "b")
    leader = cluster.elect()
    (other,) = cluster.others(leader)
    for name in (other, leader):
        cluster[name].driver.room_changed(True, cluster.now)
        cluster.settle()
    cluster.advance(3_000)
    assert cluster.elect() == leader
    cluster[other].driver.room_changed(False, cluster.now)
    cluster.advance(3_000)
    assert cluster.elect() == other


def test_in_a_pause_nobody_is_handed_over_to() -> None:
    cluster = DriverCluster("a", "b", "c")
    leader = cluster.elect()
    paused = cluster.submit(leader, commands.encode(Pause("maintenance")))
    cluster[leader].driver.room_changed(True, cluster.now)
    cluster.advance(3_000)
    assert isinstance(cluster[leader].resolved[paused], Noted)
    assert cluster.elect() == leader


@pytest.mark.parametrize(
    ("command", "needs"),
    [
        (Put("k", b"1"), True),
        (PutIf("k", b"1", 0), True),
        (Replace(b"{}"), True),
        (Patch(b"{}"), True),
        (Transaction((), (Delete("k"),)), True),
        (OpenSession(), True),
        (InSession(1, 1, NO_COLOUR), True),
        (Delete("k"), False),
        (CloseSession(1), False),
        (Elapse(1), False),
        (Pause("why"), False),
        (Resume(), False),
        (Starting(1, "a", 1_000), False),
        (Stopped(1), False),
    ],
)
def test_what_makes_the_document_smaller_or_ends_something_needs_no_room(command: Command, needs: bool) -> None:
    assert needs_room(commands.encode(command)) is needs
