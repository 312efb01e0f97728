from dataclasses import dataclass

from raftq_k8s.raft.membership import Identity
from raftq_k8s.raft.types import BootId, Generation, Incarnation, MemberId
from raftq_k8s.transport.pairing import preferred, surplus

LOW, HIGH = MemberId("raftq-0"), MemberId("raftq-1")


@dataclass(eq=False)
class Socket:
    process: Identity
    dialled_by: MemberId
    confirmed: bool = True


def socket(
    peer: MemberId, dialled_by: MemberId, generation: int = 1, *, confirmed: bool = True, volume: str = "i"
) -> Socket:
    process = Identity(None, peer, Incarnation(volume), Generation(generation), BootId(f"boot-{generation}"))
    return Socket(process, dialled_by, confirmed)


def test_nothing_is_preferred_of_nothing() -> None:
    assert preferred([], LOW) is None
    assert surplus([], LOW) == []


def test_both_sides_keep_the_socket_dialled_by_the_lower_name() -> None:
    for here, peer in ((LOW, HIGH), (HIGH, LOW)):
        by_low, by_high = socket(peer, LOW), socket(peer, HIGH)
        assert preferred([by_low, by_high], here) is by_low
        assert preferred([by_high, by_low], here) is by_low


def test_only_the_side_that_dialled_the_other_socket_closes_it() -> None:
    by_low, by_high = socket(HIGH, LOW), socket(HIGH, HIGH)
    assert surplus([by_high, by_low], LOW) == []
    by_low, by_high = socket(LOW, LOW), socket(LOW, HIGH)
    assert surplus([by_high, by_low], HIGH) == [by_high]


def test_it_is_closed_only_when_the_peer_has_greeted_us_on_the_one_that_stays() -> None:
    by_low, by_high = socket(LOW, LOW, confirmed=False), socket(LOW, HIGH)
    assert surplus([by_high, by_low], HIGH) == []


def test_a_single_socket_stays_whoever_dialled_it() -> None:
    by_high = socket(LOW, HIGH)
    assert preferred([by_high], HIGH) is by_high
    assert surplus([by_high], HIGH) == []


def test_a_younger_process_replaces_an_older_one() -> None:
    old, young = socket(HIGH, LOW, generation=1), socket(HIGH, HIGH, generation=2, confirmed=False)
    for lines in ([old, young], [young, old]):
        assert preferred(lines, LOW) is young
        assert surplus(lines, LOW) == [old]


def test_of_two_volumes_the_one_that_was_greeted_last_counts() -> None:
    """However often the one that was lost had been started, and though its socket has not died yet."""
    former, wiped = socket(HIGH, LOW, generation=57), socket(HIGH, HIGH, generation=1, volume="another")
    assert preferred([former, wiped], LOW) is wiped
    assert surplus([former, wiped], LOW) == [former]


def test_of_two_sockets_dialled_by_one_side_the_later_counts() -> None:
    earlier, later = socket(HIGH, HIGH), socket(HIGH, HIGH, confirmed=False)
    assert preferred([earlier, later], LOW) is later
    assert surplus([earlier, later], LOW) == [earlier]
