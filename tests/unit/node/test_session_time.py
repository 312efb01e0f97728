"""When a leader tells the log the time, and how much of it."""

import math

from raftq_k8s.node.session_time import SessionTime
from raftq_k8s.raft.types import Index, Term
from raftq_k8s.state.commands import Elapse


def telling(term: int, now: float) -> SessionTime:
    time = SessionTime(1_000.0)
    time.tell_in(Term(term), now)
    return time


def test_what_passed_before_is_not_told() -> None:
    time = telling(1, 50_000.0)
    assert time.wake_at == 51_000.0
    assert time.due(50_999.0) is None
    assert time.due(51_000.9) == Elapse(1_000)


def test_a_leader_of_a_later_term_begins_anew_though_it_led_before() -> None:
    time = telling(1, 0.0)
    time.tell_in(Term(2), 900.0)
    assert time.due(1_500.0) is None
    assert time.due(1_900.0) == Elapse(1_000)


def test_one_at_a_time_and_the_next_after_the_interval_whatever_became_of_it() -> None:
    time = telling(1, 0.0)
    assert time.due(1_000.0) == Elapse(1_000)
    assert time.due(1_500.0) is None  # it was refused
    assert time.due(2_000.0) == Elapse(2_000)
    time.proposed(Index(7), 2_000.0)
    assert time.wake_at == math.inf
    time.applied(Index(6))
    assert time.wake_at == math.inf
    time.applied(Index(8))
    assert time.due(3_000.0) == Elapse(1_000)


def test_nobody_is_charged_with_more_than_two_intervals_at_once() -> None:
    assert telling(1, 0.0).due(60_000.0) == Elapse(2_000)


def test_while_nothing_is_to_be_told_nothing_wakes() -> None:
    time = telling(1, 0.0)
    time.tell_in(None, 500.0)
    assert time.wake_at == math.inf
    assert time.due(60_000.0) is None
