"""The end of an agent, step by step, with a node that does as it is told."""

import asyncio

import msgspec
import pytest

from raftq_k8s.agent.departure import Departure, Patience, needed
from raftq_k8s.node.errors import NotLeader, NotStarted, TransferFailed
from raftq_k8s.node.status import UNSTARTED
from raftq_k8s.raft.consensus import TransferRefused

LONG = Patience(quorum=5.0, transfer=5.0, settle=5.0)


def seen_by_a(*connected, voters=("a", "b", "c")):
    return msgspec.structs.replace(UNSTARTED, member="a", voters=voters, connected=connected)


class Node:
    """`outcomes`: what each call of `transfer` comes to; the last one for good."""

    def __init__(self, *outcomes, connected=("b", "c")):
        self.outcomes = list(outcomes)
        self.connected = connected
        self.told = []
        self.targets = []
        self.stop_fails = self.release_fails = None

    def status(self):
        return seen_by_a(*self.connected)

    def set_eligible(self, eligible):
        self.told.append(f"eligible: {eligible}")

    async def transfer(self, target, timeout_s):
        self.told.append("transfer")
        self.targets.append(target)
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        if outcome is None:
            await asyncio.Event().wait()
        return outcome

    def departure(self, patience=LONG):
        async def release():
            if self.release_fails is not None:
                raise self.release_fails
            self.told.append("label released")

        async def sleep(seconds):
            self.told.append(f"sleep {seconds:g}")
            await asyncio.sleep(0)

        async def stop_application():
            if self.stop_fails is not None:
                raise self.stop_fails
            self.told.append("application stopped")

        def turn_clients_away():
            self.told.append("clients turned away")

        return Departure(
            self,
            patience,
            turn_clients_away=turn_clients_away,
            successor=lambda: "c",
            stop_application=stop_application,
            release=release,
            sleep=sleep,
        )


async def test_a_leader_stops_its_application_hands_over_before_its_label_goes_and_forwards_for_a_while():
    node = Node("b")
    await node.departure().carry_out("asked")
    assert node.told == [
        "clients turned away",
        "application stopped",
        "eligible: False",
        "transfer",
        "label released",
        "sleep 5",
    ]


@pytest.mark.parametrize("error", [NotLeader("b"), NotStarted("not yet")])
async def test_whoever_does_not_lead_has_nothing_to_hand_over(error):
    node = Node(error)
    await node.departure().carry_out("asked")
    assert node.told[-3:] == ["transfer", "label released", "sleep 5"]


async def test_a_transfer_to_the_one_preferred_that_fails_is_tried_again_to_whoever_raft_thinks_best():
    node = Node(TransferFailed("b did not make it"), TransferRefused("not now"), "c")
    await node.departure().carry_out("asked")
    assert node.targets == ["c", None, None]


async def test_it_ends_all_the_same_when_nobody_takes_over_in_time():
    node = Node(None)
    async with asyncio.timeout(5):
        await node.departure(Patience(quorum=0, transfer=0.01, settle=0)).carry_out("asked")
    assert node.told[-2:] == ["label released", "sleep 0"]


async def test_an_application_that_cannot_be_stopped_holds_nothing_up(caplog):
    node = Node("b")
    node.stop_fails = RuntimeError("a hook is broken")
    await node.departure().carry_out("asked")
    assert node.told[-3:] == ["transfer", "label released", "sleep 5"]
    assert "could not be stopped" in caplog.text


async def test_nothing_is_tried_again_where_nobody_is_left():
    node = Node(TransferRefused("nobody"), connected=())
    await node.departure().carry_out("asked")
    assert node.told.count("transfer") == 1


async def test_it_waits_while_the_others_alone_are_no_majority():
    node = Node(NotLeader("b"), connected=("b",))
    waiting = asyncio.create_task(node.departure().carry_out("asked"))
    while node.told.count("sleep 0.1") < 3:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert "application stopped", "eligible: False" not in node.told  # it may be the only one who can be elected
    node.connected = ("b", "c")
    await waiting
    assert node.told[-2:] == ["label released", "sleep 5"]


async def test_it_waits_for_a_majority_no_longer_than_it_may():
    node = Node(NotLeader("b"), connected=("b",))
    async with asyncio.timeout(5):
        await node.departure(Patience(quorum=0.01, transfer=1, settle=0)).carry_out("asked")


async def test_whoever_asks_later_waits_for_the_same_and_may_give_up():
    node = Node("b")
    departure = node.departure()
    gave_up = asyncio.create_task(departure.carry_out("drained"))
    await asyncio.sleep(0)
    gave_up.cancel()
    await asyncio.gather(departure.carry_out("signalled"), departure.carry_out("signalled again"))
    assert node.told.count("clients turned away") == node.told.count("label released") == 1


async def test_an_end_that_is_abandoned_goes_no_further():
    node = Node(None)
    departure = node.departure()
    departure.begin("asked")
    await asyncio.sleep(0)
    await departure.abandon()
    assert "label released" not in node.told


@pytest.mark.parametrize(
    ("connected", "voters", "is_needed"),
    [
        (("b", "c"), ("a", "b", "c"), False),
        (("b",), ("a", "b", "c"), True),
        (("a", "b"), ("a", "b", "c"), True),
        ((), ("a", "b", "c"), False),  # there is no majority to lose
        ((), ("a",), False),
        (("b",), ("a", "b"), False),
        (("b", "c"), ("a", "b", "c", "d", "e"), True),
        (("b", "c", "d"), ("a", "b", "c", "d", "e"), False),
        (("b",), ("b", "c", "d"), False),  # it does not vote
    ],
)
def test_a_member_is_needed_where_a_majority_is_there_by_its_vote_alone(connected, voters, is_needed):
    assert needed(seen_by_a(*connected, voters=voters)) is is_needed


async def test_a_label_that_cannot_be_taken_off_keeps_nobody_from_being_forwarded():
    node = Node("b")
    node.release_fails = ValueError("no answer that anybody foresaw")
    await node.departure().carry_out("asked")
    assert node.told[-2:] == ["transfer", "sleep 5"]
