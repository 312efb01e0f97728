"""When the watchdog starts, asks and kills: orders and a clock, and nothing else."""

import pytest

from raftq_k8s.agent.application.watchdog import Order, Watch

NOTHING = Order(0, 0.0, 500.0, {})


def order(start=1, ask_at=100.0, kill_at=200.0):
    return Order(start, ask_at, kill_at, {})


def running(*orders):
    watch = Watch()
    watch.obey(order())
    assert watch.next(0.0) == "start"
    watch.started()
    for each in orders:
        watch.obey(each)
    return watch


def test_nothing_is_done_without_an_order():
    assert Watch().next(1e9) is None


@pytest.mark.parametrize(("now", "act"), [(99.0, None), (100.0, "ask"), (199.0, "ask"), (200.0, "kill")])
def test_without_another_order_it_is_asked_and_then_killed(now, act):
    assert running().next(now) == act


def test_it_is_asked_once_and_then_killed_for_as_long_as_it_lives():
    watch = running()
    assert watch.next(100.0) == "ask"
    watch.ask()
    assert watch.next(101.0) is None
    assert watch.next(200.0) == "kill"
    assert watch.next(300.0) == "kill"


def test_the_same_order_puts_both_moments_off_and_never_forward():
    watch = running(order(ask_at=1000.0, kill_at=2000.0), order(ask_at=500.0, kill_at=600.0))
    assert watch.next(999.0) is None
    assert watch.next(1000.0) == "ask"
    assert watch.next(2000.0) == "kill"


def test_what_was_asked_to_end_is_not_let_off():
    watch = running()
    watch.ask()
    watch.obey(order(ask_at=1000.0, kill_at=2000.0))
    assert watch.next(200.0) == "kill"


def test_an_order_to_end_asks_at_once_and_leaves_it_no_more_time_than_the_lease():
    watch = running(NOTHING)
    assert watch.next(1.0) == "ask"
    watch.ask()
    assert watch.next(199.0) is None
    assert watch.next(200.0) == "kill"


def test_another_start_waits_until_the_first_has_ended():
    watch = running(order(2, 900.0, 1000.0))
    assert watch.next(1.0) == "ask"
    watch.ask()
    assert watch.ended() == (1, True)
    assert watch.next(2.0) == "start"


def test_an_order_that_comes_too_late_starts_nothing():
    watch = Watch()
    watch.obey(order())
    assert watch.next(100.0) is None


def test_what_has_ended_is_not_started_again_by_the_same_order():
    watch = running()
    assert watch.ended() == (1, False)
    watch.obey(order(ask_at=1000.0, kill_at=2000.0))
    assert watch.next(2.0) is None
    watch.obey(order(2, ask_at=1000.0, kill_at=2000.0))
    assert watch.next(2.0) == "start"


def test_without_whoever_gives_orders_it_is_asked_at_once_and_nothing_starts():
    watch = running()
    watch.orphaned()
    assert watch.next(1.0) == "ask"
    watch.ask()
    assert watch.next(200.0) == "kill"
    watch.ended()
    assert watch.next(201.0) is None


@pytest.mark.parametrize(("now", "nap"), [(0.0, 100.0), (70.0, 30.0), (150.0, 5.0)])
def test_it_sleeps_no_longer_than_until_the_next_moment(now, nap):
    assert running().nap(now) == nap
