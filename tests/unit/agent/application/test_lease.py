"""The rule of the application lease, act by act."""

import math

import msgspec
import pytest

from raftq_k8s.agent.application.lease import (
    ApplicationLease,
    Claim,
    HandOver,
    Raft,
    Release,
    Rest,
    Start,
    Stop,
    Times,
)
from raftq_k8s.state.agreements import Holding

WINDOW = 1000.0
STOP = 10_000.0
ME = "raftq-0@pod-a"
OTHER = Holding(3, "raftq-1@pod-b", 10_000)


def raft(now=0.0, term=5, holding=None, **changes):
    """A leader of term 5 that has just heard a quorum."""
    plain = Raft(now, term, "raftq-0", leads=True, quorum_until=now + 900.0, applied=True, holding=holding)
    return msgspec.structs.replace(plain, **changes)


def following(now=0.0, term=6, holding=None):
    return Raft(now, term, "raftq-1", leads=False, quorum_until=-math.inf, applied=True, holding=holding)


def mine(term=5):
    return Holding(term, ME, 10_000)


def lease(**times):
    made = ApplicationLease(ME, Times(WINDOW, STOP, **times))
    made.stopped()
    return made


def running(**times):
    made = lease(**times)
    made.next(raft())
    made.starting(raft(holding=mine()))
    made.promoted(5)
    return made


def test_a_process_first_stops_what_a_former_life_may_have_started():
    fresh = ApplicationLease(ME, Times(WINDOW, STOP))
    assert fresh.next(following()) == Stop(by=STOP)
    assert fresh.next(raft()) == Stop(by=STOP)
    fresh.stopped()
    assert fresh.next(following()) == Rest()


def test_a_leader_says_that_it_starts_before_it_does():
    one = lease()
    assert one.next(raft()) == Claim(5)
    assert one.next(raft(holding=mine())) == Start(5)


def test_a_leader_that_does_not_know_the_whole_log_claims_nothing():
    assert lease().next(raft(applied=False)) == Rest(0.0)


def test_a_leader_waits_for_the_holder_since_its_own_election():
    one = lease()
    assert one.next(raft(100.0, holding=OTHER)) == Rest(10_100.0)
    assert one.next(raft(10_099.0, holding=OTHER)) == Rest(10_100.0)
    assert one.next(raft(10_100.0, holding=OTHER)) == Claim(5)


def test_a_leader_waits_no_longer_than_the_holder_says_that_it_has_stopped():
    one = lease()
    one.next(raft(0.0, holding=OTHER))
    assert one.next(raft(50.0, holding=None)) == Claim(5)


def test_each_election_begins_the_wait_anew():
    one = lease()
    one.next(raft(0.0, holding=OTHER))
    one.next(following(5000.0, holding=OTHER))
    assert one.next(raft(9000.0, term=7, holding=OTHER)) == Rest(19_000.0)


def test_what_is_waited_for_is_the_promise_of_the_holder_and_not_what_is_set_here():
    assert lease().next(raft(holding=Holding(3, OTHER.holder, 25_000))) == Rest(25_000.0)
    assert lease().next(raft(holding=Holding(3, OTHER.holder, 0))) == Claim(5)  # a fenced one


def test_a_fenced_application_promises_nothing():
    assert (Times(WINDOW, STOP, fenced=True).within, Times(WINDOW, 9999.5).within) == (0, 10_000)


def test_a_deposed_holder_stops_by_the_time_that_it_promised_and_says_so():
    one = running()
    assert one.lease.kill_at == -100.0 + 9000.0  # nobody was elected before the last round was sent
    assert one.next(following(500.0, holding=mine())) == Stop(by=8900.0)
    assert one.promoted_in() is None
    one.stopped()
    assert one.lease is None
    assert one.next(following(700.0, holding=mine())) == Release(5)
    assert one.next(following(800.0, holding=None)) == Rest()


def test_a_leader_whose_time_is_over_stops_before_it_hears_of_another():
    assert isinstance(running().next(raft(900.0, leads=False)), Stop)


def test_the_lease_grows_with_each_quorum_and_never_shrinks():
    one = running()
    one.next(raft(1000.0, quorum_until=1800.0))
    assert one.lease.kill_at == 800.0 + 9000.0
    one.next(raft(1001.0, quorum_until=1700.0))
    assert one.lease.kill_at == 800.0 + 9000.0
    assert one.lease.ask_at == 800.0 + 4500.0


def test_a_lone_voter_that_leads_for_ever_promises_from_now_on_all_the_same():
    one = running()
    one.next(raft(1000.0, quorum_until=math.inf))
    assert one.lease.kill_at == 1000.0 + 9000.0


def test_one_that_leads_again_stops_and_starts_with_the_new_term():
    one = running()
    assert isinstance(one.next(raft(100.0, term=7, holding=mine())), Stop)
    one.stopped()
    assert one.next(raft(200.0, term=7, holding=mine())) == Release(5)
    assert one.next(raft(300.0, term=7)) == Claim(7)


def test_a_member_in_another_place_is_another_holder():
    one = lease()
    elsewhere = Holding(3, "raftq-0@pod-z", 10_000)
    assert one.next(following(holding=elsewhere)) == Rest()
    assert one.next(raft(holding=elsewhere)) == Rest(10_000.0)


def test_after_a_release_of_unknown_outcome_nothing_starts_in_that_term():
    one = running()
    one.withdraw()
    assert isinstance(one.next(raft(10.0, holding=mine())), Stop)
    one.stopped()
    assert one.next(raft(20.0, holding=mine())) == Release(5)
    one.release_unknown(5)
    one.resume()
    assert one.next(raft(30.0, holding=mine())) == Release(5)
    assert one.next(raft(40.0)) == HandOver(5)
    assert one.next(raft(50.0, term=8)) == Claim(8)


def test_one_that_is_to_end_stops_says_so_and_starts_nothing():
    one = running()
    one.withdraw()
    assert isinstance(one.next(raft(10.0, holding=mine())), Stop)
    assert not one.settled(raft(10.0, holding=mine()))
    one.stopped()
    assert one.next(raft(20.0, holding=mine())) == Release(5)
    assert not one.settled(raft(20.0, holding=mine()))
    assert one.next(raft(30.0)) == Rest()
    assert one.settled(raft(30.0))


def test_an_application_that_is_unhealthy_for_too_long_is_handed_over():
    one = running(unhealthy_after=3000.0)
    one.report_health(False, 100.0)
    one.report_health(False, 2000.0)
    assert one.next(raft(200.0, holding=mine())) == Rest(3100.0)
    assert isinstance(one.next(raft(3100.0, holding=mine())), Stop)
    one.stopped()
    assert one.next(raft(3200.0, holding=mine())) == Release(5)
    assert one.next(raft(3300.0)) == HandOver(5)


def test_an_application_that_recovers_in_time_stays():
    one = running(unhealthy_after=3000.0)
    one.report_health(False, 100.0)
    one.report_health(True, 3000.0)
    assert one.next(raft(9000.0, holding=mine())) == Rest()
    assert one.healthy


def test_a_failed_start_is_stopped_and_handed_over():
    one = running()
    one.failed(5)
    assert isinstance(one.next(raft(10.0, holding=mine())), Stop)
    one.stopped()
    assert one.next(raft(20.0, holding=mine())) == Release(5)
    assert one.next(raft(30.0)) == HandOver(5)


def test_where_nobody_else_takes_it_it_is_tried_here_again_later_and_later():
    one = running()
    pauses = []
    now = 0.0
    for _ in range(4):
        one.failed(5)
        assert isinstance(one.next(raft(now, holding=mine())), Stop)
        one.stopped()
        assert one.next(raft(now, holding=mine())) == Release(5)
        assert one.next(raft(now)) == HandOver(5)
        one.kept(now)
        match one.next(raft(now)):
            case Rest(until):
                pauses.append(until - now)
                now = until
        assert one.next(raft(now)) == Claim(5)
        assert one.next(raft(now, holding=mine())) == Start(5)
        one.starting(raft(now, holding=mine()))
    assert pauses == [1000.0, 2000.0, 4000.0, 8000.0]


def test_one_that_cannot_be_stopped_is_tried_again_and_a_leader_hands_over():
    one = running()
    assert isinstance(one.next(following(10.0, holding=mine())), Stop)
    one.stop_failed(20.0)
    assert one.next(following(30.0, holding=mine())) == Rest(1020.0)
    assert one.next(raft(1020.0, term=8, holding=mine())) == Stop(by=8900.0)
    one.stop_failed(1030.0)
    assert one.next(raft(1040.0, term=8, holding=mine())) == HandOver(8)
    one.kept(1050.0)
    assert one.next(raft(1060.0, term=8, holding=mine())) == Rest(5050.0)
    assert one.next(raft(9000.0, term=8, holding=mine())) == Stop(by=19_000.0)  # too late, and still to be done


@pytest.mark.parametrize("late", ["promoted", "failed"])
def test_what_a_hook_of_a_former_term_reports_changes_nothing(late):
    one = running()
    getattr(one, late)(4)
    assert one.promoted_in() == 5
    assert one.next(raft(10.0, holding=mine())) == Rest()
