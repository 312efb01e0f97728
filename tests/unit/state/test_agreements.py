"""What is agreed on beside the document."""

import pytest

from raftq_k8s.raft.types import Index
from raftq_k8s.state.agreements import Holding
from raftq_k8s.state.commands import Agreement, Noted, Pause, Resume, Starting, Stopped, encode
from raftq_k8s.state.document import UnreadableCommand
from raftq_k8s.state.machine import StateMachine


def told(*agreements: Agreement) -> StateMachine:
    state = StateMachine()
    for index, agreement in enumerate(agreements, start=1):
        assert state.apply(Index(index), encode(agreement)) == Noted(index)
    return state


def test_a_pause_lasts_until_it_is_resumed_and_the_latest_reason_counts() -> None:
    assert told().paused is None
    assert told(Pause("disks"), Pause("kernels")).paused == "kernels"
    assert told(Pause("disks"), Resume()).paused is None
    assert told(Resume()).paused is None


@pytest.mark.parametrize(
    ("agreements", "holding"),
    [
        ((), None),
        ((Starting(3, "a", 10_000),), Holding(3, "a", 10_000)),
        ((Starting(3, "a", 10_000), Stopped(3)), None),
        ((Starting(3, "a", 10_000), Stopped(2)), Holding(3, "a", 10_000)),
        ((Starting(3, "a", 10_000), Stopped(4)), Holding(3, "a", 10_000)),
        ((Starting(3, "a", 10_000), Starting(4, "b", 10_000)), Holding(4, "b", 10_000)),
        ((Starting(3, "a", 10_000), Starting(4, "b", 10_000), Stopped(3)), Holding(4, "b", 10_000)),
        ((Starting(4, "b", 10_000), Starting(3, "a", 10_000)), Holding(4, "b", 10_000)),
        ((Starting(4, "b", 10_000), Stopped(4), Starting(3, "a", 10_000)), None),
        (
            (Starting(4, "b", 10_000), Stopped(4), Starting(4, "b", 10_000)),
            Holding(4, "b", 10_000),
        ),  # a transfer that came to nothing
    ],
)
def test_the_application_is_held_by_the_latest_term_that_started_it_and_did_not_stop(
    agreements: tuple[Agreement, ...], holding: Holding | None
) -> None:
    assert told(*agreements).application == holding


def test_agreements_are_in_a_snapshot() -> None:
    first = told(Starting(7, "a", 10_000), Stopped(7), Pause("disks"), Starting(9, "b", 10_000))
    second = StateMachine()
    restoring = second.restoring()
    for part in first.freeze().parts(1 << 16):
        restoring.feed(part)
    second.install(restoring)
    assert (second.paused, second.application) == ("disks", Holding(9, "b", 10_000))
    second.apply(Index(5), encode(Stopped(9)))
    second.apply(Index(6), encode(Starting(8, "a", 10_000)))
    assert second.application is None


def test_a_pause_is_no_change_of_the_document() -> None:
    state = told(Pause("disks"))
    assert state.document.whole() == (b"{}", 0)
    assert state.document.applied_index == 1


def test_a_reason_beyond_its_bound_is_no_command() -> None:
    with pytest.raises(UnreadableCommand):
        StateMachine().apply(Index(1), encode(Pause("a" * 1025)))
