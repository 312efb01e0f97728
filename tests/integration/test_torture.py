"""One minute of torture; and that the verdict on a history can be a bad one."""

import json

import msgspec
import pytest
from torture import torture
from torture_history import Done, Event, History, Op, Result


@pytest.mark.timeout(300)
async def test_three_agents_under_torture_lose_nothing_and_apply_nothing_twice(tmp_path):
    file = tmp_path / "history.jsonl"
    folder = tmp_path / "agents"
    folder.mkdir()
    report, history = await torture(folder, minutes=1.0, agents=3, seed=5, history_file=file)
    assert report.sound, (report, [history.of_key(key) for key in report.not_linearizable[:1]])
    assert report.acknowledged > 500
    assert report.operations["get ok"] > 500
    assert report.operations["cas ok"] > 50
    assert report.operations["cas mismatch"] > 10
    lines = file.read_text().splitlines()
    assert len(lines) == sum(report.operations.values())
    assert [*json.loads(lines[0])] == [
        *("client", "op", "key", "value", "expected", "read", "call_ns", "return_ns", "result")
    ]


class Story:
    """Operations on one key, each a little after the one before."""

    def __init__(self) -> None:
        self.history = History()
        self._now = 0

    def add(
        self,
        op: Op,
        value: str | None = None,
        *,
        read: str | None = None,
        expected: str | None = None,
        result: Result = "ok",
        lasts: int = 5,
        existed: bool | None = None,
        revision: int | None = None,
    ) -> "Story":
        self._now += 10
        returned = None if result == "unknown" else self._now + lasts
        event = Event(f"client-{self._now}", op, "key", value, expected, read, self._now, returned, result)
        self.history.add(Done(event, existed, revision))
        return self

    @property
    def holds(self) -> bool:
        return self.history.judge().sound


def test_a_read_of_what_was_overwritten_before_it_began_is_not_explained():
    story = Story().add("put", "a", revision=2).add("put", "b", revision=3)
    assert story.holds
    assert not story.add("get", read="a", revision=2).holds


def test_a_write_that_nobody_finds_any_more_is_not_explained():
    assert not Story().add("put", "a", existed=False, revision=2).add("get", revision=9).holds


def test_a_write_whose_client_never_heard_may_have_happened_at_any_time_or_never():
    story = Story().add("put", "a", revision=2).add("put", "b", result="unknown").add("get", read="a", revision=2)
    assert story.holds
    assert story.add("get", read="b", revision=7).holds
    assert not story.add("get", read="a", revision=2).holds


def test_a_write_that_certainly_did_nothing_must_not_be_seen():
    assert not Story().add("put", "a", result="fail").add("get", read="a", revision=3).holds


def test_two_of_those_who_compare_and_set_cannot_both_have_found_the_same():
    story = Story().add("put", "a", revision=2).add("cas", "b", expected="a", revision=3)
    assert story.holds
    assert not story.add("cas", "c", expected="a", revision=4).holds


def test_whoever_compared_and_set_in_vain_cannot_have_found_what_it_expected():
    story = Story().add("put", "a", revision=2)
    assert not story.add("cas", "b", expected="a", result="mismatch", revision=3).holds


def test_what_overlaps_may_have_come_in_either_order():
    story = Story().add("put", "a", revision=3, lasts=50).add("put", "b", revision=2, lasts=50).add("get", read="a")
    assert story.holds


def test_a_line_of_the_file_says_what_an_outside_checker_asks_for(tmp_path):
    history = Story().add("cas", "b", expected="a", result="mismatch").history
    history.write(tmp_path / "history")
    assert msgspec.json.decode((tmp_path / "history").read_bytes()) == {
        "client": "client-10",
        "op": "cas",
        "key": "key",
        "value": "b",
        "expected": "a",
        "read": None,
        "call_ns": 10,
        "return_ns": 15,
        "result": "mismatch",
    }
