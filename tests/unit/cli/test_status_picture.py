"""One look answers: is it well, who leads, since when, what can fail next."""

import io

import pytest
from rich.console import Console

from raftq_k8s.cli.spans import milliseconds, seconds
from raftq_k8s.cli.status import judge
from raftq_k8s.cli.status_view import drawn
from raftq_k8s.client import Failover, Member, Role, Status
from raftq_k8s.client.answers import Label

NOW_S = 1_700_000_000.0
LABELLED = Label(pending=False, labelled_leaders=1)


def says(member, **others):
    told = {
        "cluster": "raftq-7f3c",
        "waiting_for": None,
        "role": Role.LEADER if member == "raftq-1" else Role.FOLLOWER,
        "term": 12,
        "leader": "raftq-1",
        "leader_http": "10.0.0.1:7480",
        "established": True,
        "caught_up": True,
        "leaderless_ms": 0.0,
        "commit_index": 1200,
        "applied_index": 1200,
        "last_index": 1200,
        "base_index": 492,
        "voters": ("raftq-0", "raftq-1", "raftq-2"),
        "learners": (),
        "connected": (),
        "label": LABELLED,
    }
    return Status(member=member, **(told | others))


MEMBERS = (
    Member("raftq-0", "voter", True, "a", 1200, 0, 0.4, 21.0, "10.0.0.0:7480"),
    Member("raftq-1", "voter", True, "b"),
    Member("raftq-2", "voter", True, "c", 1188, 12, 0.51, 33.0, "10.0.0.2:7480"),
)
FAILOVER = Failover(NOW_S - 11_520, "raftq-0", "raftq-1", 12, "connection-lost", 290.0)
OWN = {"raftq-0": says("raftq-0"), "raftq-1": says("raftq-1")}


def picture(members=MEMBERS, history=(FAILOVER,), own=OWN, width=80, **asked):
    seen = judge(says("raftq-1", **asked), members, own, history, NOW_S)
    console = Console(file=io.StringIO(), width=width)
    console.print(drawn(seen, NOW_S))
    return "\n".join(line.rstrip() for line in console.file.getvalue().splitlines())


def away(*names):
    return tuple(
        Member(each.name, each.kind, each.connected and each.name not in names, heard_ms=each.heard_ms)
        for each in MEMBERS
    )


HEALTHY = """
 cluster raftq-7f3c · 3 voters · term 12 · leader raftq-1 for 3 h 12 min · tolerates 1 failure

    member   role      lag  heard     rtt  label     log entries
    raftq-0  follower    0  21 ms  0.4 ms  follower  708, 41% compacted
 ●  raftq-1  leader      -      -       -  leader    708, 41% compacted
    raftq-2  follower   12  33 ms  0.5 ms  -         -

 last failover 3 h 12 min ago: raftq-0 → raftq-1 in 0.29 s (the connection to it was lost)
"""


def test_a_healthy_cluster_is_one_look():
    assert picture(width=110) == HEALTHY


@pytest.mark.parametrize("width", [80, 60, 40])
def test_on_a_narrow_terminal_the_last_columns_go_and_no_name_is_cut(width):
    lines = picture(width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert any(line.startswith(" ●  raftq-1  leader") for line in lines)


@pytest.mark.parametrize("width", [40, 60, 72, 80])
def test_on_a_narrow_terminal_no_fact_of_the_title_is_torn_apart(width):
    title = picture(width=width).split("\n\n")[0].strip("\n")
    facts = " · ".join(line.strip() for line in title.splitlines())
    assert facts == "cluster raftq-7f3c · 3 voters · term 12 · leader raftq-1 for 3 h 12 min · tolerates 1 failure"


def test_the_failure_that_may_not_come_is_announced():
    assert "tolerates no failure" in picture(away("raftq-0"), width=110)
    assert "✗  raftq-0  away" in picture(away("raftq-0"))


def test_a_lost_majority_is_said():
    assert "no majority is here: writes have stopped" in picture(away("raftq-0", "raftq-2"), width=140)


def test_without_a_leader_it_says_for_how_long():
    assert "nobody leads for 12 s" in picture(leader=None, leaderless_ms=12_000.0)


def test_how_long_it_leads_is_not_said_of_another_term():
    assert "leader raftq-1 · tolerates" in picture(term=13, width=110)


def test_a_pause_and_its_reason_are_shown():
    assert "paused: new disks" in picture(paused="new disks")


def test_who_belongs_to_no_cluster_says_what_it_waits_for():
    text = picture((), (), {}, cluster=None, leader=None, waiting_for="waiting for raftq-2 to be present")
    assert "raftq-1 belongs to no cluster yet" in text
    assert "raftq-1: waiting for raftq-2 to be present" in text


def test_a_label_that_is_not_written_is_pending():
    pending = {"raftq-1": says("raftq-1", label=Label(pending=True, labelled_leaders=0))}
    assert "pending" in picture(own=pending)


def test_where_nothing_is_labelled_no_column_says_so():
    assert "label" not in picture(own={"raftq-0": says("raftq-0", label=None)}, width=110)


def test_a_leadership_that_was_handed_over_in_a_few_milliseconds_is_not_said_to_take_none():
    history = (Failover(NOW_S - 60, "raftq-0", "raftq-1", 3, "transfer", 9.9),)
    assert "raftq-0 → raftq-1 in 9.9 ms (handed over)" in picture(history=history)


def test_a_first_leader_is_no_failover():
    assert "failover" not in picture(history=(Failover(NOW_S, None, "raftq-1", 1, "first", 900.0),))


@pytest.mark.parametrize(
    ("span_s", "text"),
    [
        (0.001, "0 s"),
        (0.29, "0.29 s"),
        (2.04, "2 s"),
        (45.4, "45 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (11_520, "3 h 12 min"),
        (86_400, "1 d"),
        (200_000, "2 d 7 h"),
    ],
)
def test_spans_are_said_in_two_units_at_the_most(span_s, text):
    assert seconds(span_s) == text


def test_short_spans_keep_one_digit_more():
    assert [milliseconds(span) for span in (None, 0.44, 21.4, 1500)] == ["-", "0.4 ms", "21 ms", "1.5 s"]
