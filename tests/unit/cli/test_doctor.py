"""Each finding says what to do, and only what is wrong makes the exit code 1."""

import dataclasses

import pytest

from raftq_k8s.cli import checks_here
from raftq_k8s.cli.checks_here import expiry, rights, throttling
from raftq_k8s.cli.checks_of_cluster import Seen, ahead, judge
from raftq_k8s.cli.connecting import Reach
from raftq_k8s.cli.doctor import _here
from raftq_k8s.cli.finding import State
from raftq_k8s.client import Member, Role, Status
from raftq_k8s.client.answers import Label
from raftq_k8s.kube.client import ApiUnreachable

DAY_S = 86_400


def says(member="raftq-0", **others):
    told = {
        "cluster": "c",
        "waiting_for": None,
        "role": Role.FOLLOWER,
        "term": 4,
        "leader": "raftq-0",
        "leader_http": None,
        "established": True,
        "caught_up": True,
        "leaderless_ms": 0.0,
        "commit_index": 1,
        "applied_index": 1,
        "last_index": 1,
        "voters": (),
        "learners": (),
        "connected": (),
        "version": "0.1.0",
    }
    return Status(member=member, **(told | others))


def member(name, connected=True, lag=0):
    return Member(name, "voter", connected, lag=lag, http_address="10.0.0.1:7480")


THREE = [member("raftq-0"), member("raftq-1"), member("raftq-2")]


def seen(name="raftq-0", ahead_s=0.0, stalls=0, **told):
    return {name: Seen(says(name, **told), ahead_s, stalls)}


def everybody(**told):
    return seen("raftq-0", **told) | seen("raftq-1") | seen("raftq-2")


def states(findings):
    return {finding.check: finding.state for finding in findings}


def test_a_healthy_cluster_has_no_finding_that_asks_for_anything():
    findings = judge(says(), THREE, everybody())
    assert {finding.state for finding in findings} == {State.WELL}
    assert not any(finding.advice for finding in findings)


@pytest.mark.parametrize(
    ("asked", "members", "seen_there", "check", "state"),
    [
        (says(leader=None, leaderless_ms=9000.0), THREE, everybody(), "leader", State.WRONG),
        (says(), [*THREE[:2], member("raftq-2", connected=False)], everybody(), "voters", State.WRONG),
        (says(), THREE[:2], everybody(), "voters", State.NOTE),
        (says(), [*THREE[:2], member("raftq-2", lag=50_000)], everybody(), "lag", State.NOTE),
        (says(), THREE, seen("raftq-0"), "http", State.SKIPPED),
        (says(), THREE, everybody(ahead_s=-7.0), "clocks", State.NOTE),
        (says(), THREE, everybody(volume_full=True), "volumes", State.WRONG),
        (says(), THREE, everybody(stalls=3), "stalls", State.NOTE),
        (says(), THREE, everybody(label=Label(pending=True, labelled_leaders=1)), "label", State.WRONG),
        (says(), THREE, everybody(label=Label(pending=False, labelled_leaders=2)), "label", State.WRONG),
        (says(), THREE, everybody(version="0.2.0"), "releases", State.NOTE),
        (says(paused="new disks"), THREE, everybody(), "pause", State.NOTE),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_well_is_found_with_what_to_do(asked, members, seen_there, check, state):
    findings = judge(asked, members, seen_there)
    assert states(findings)[check] is state
    assert all(finding.advice for finding in findings if finding.state in (State.WRONG, State.NOTE))


def test_a_follower_that_has_not_looked_since_the_label_moved_is_not_believed():
    looked, not_yet = Label(pending=False, labelled_leaders=1), Label(pending=False, labelled_leaders=0)
    members = seen("raftq-0", label=looked) | seen("raftq-1", label=not_yet)
    assert states(judge(says(), THREE, members))["label"] is State.WELL


@pytest.mark.parametrize(
    ("said_s", "began_s", "ended_s", "ahead_s"),
    [(100, 100.9, 101.2, 0), (100, 99.0, 109.0, 0), (107, 100.0, 101.5, 5.5), (100, 104.5, 104.6, -3.5)],
    ids=["whole seconds", "a slow answer", "ahead", "behind"],
)
def test_a_slow_answer_is_no_wrong_clock(said_s, began_s, ended_s, ahead_s):
    assert ahead(said_s, began_s, ended_s) == ahead_s


def test_who_is_away_is_named_with_what_may_fail_besides():
    five = [*THREE, member("raftq-3"), member("raftq-4", connected=False)]
    [voters] = [finding for finding in judge(says(), five, everybody()) if finding.check == "voters"]
    assert voters.found == "raftq-4 of 5 away; 1 more may fail"


@pytest.mark.parametrize(
    ("days", "state"), [(-1, State.WRONG), (0, State.WRONG), (3, State.NOTE), (13.9, State.NOTE), (90, State.WELL)]
)
def test_a_certificate_is_renewed_before_it_ends(days, state):
    assert expiry(days * DAY_S, 0.0).state is state


@dataclasses.dataclass
class Api:
    granted: object

    async def may(self, verb, resource, name=""):
        if isinstance(self.granted, Exception):
            raise self.granted
        return (verb, resource, name) not in self.granted


@pytest.fixture
def planned(tmp_path):
    flags = [
        "--name",
        "raftq-0",
        "--data",
        str(tmp_path),
        "--peers",
        "raftq-0=127.0.0.1:7400,raftq-1=nowhere.invalid:1",
    ]
    planned, _ = checks_here.settings(flags)
    assert planned is not None
    return planned


async def test_each_missing_right_is_named(planned):
    lacking = {("patch", "pods", "raftq-1"), ("list", "pods", ""), ("get", "configmaps", "raftq-birth")}
    finding = await rights(Api(lacking), planned)
    assert finding.state is State.WRONG
    assert finding.found == "this service account may not list pods, patch pods raftq-1, get configmaps raftq-birth"
    assert (await rights(Api(set()), planned)).state is State.WELL
    assert (await rights(Api(ApiUnreachable("no answer in time")), planned)).state is State.WRONG


@pytest.mark.parametrize(
    ("statistics", "states"),
    [
        ("usage_usec 7\n", []),
        ("nr_periods 1000\nnr_throttled 2\n", [State.WELL]),
        ("nr_periods 1000\nnr_throttled 200\nthrottled_usec 9\n", [State.NOTE]),
    ],
    ids=["no limit", "hardly ever", "often"],
)
def test_a_cpu_that_is_held_back_is_worth_a_look(statistics, states):
    assert [finding.state for finding in throttling(statistics)] == states


def test_in_an_agents_place_its_own_port_is_asked(planned):
    assert _here(Reach(None, None), planned).servers == ["http://127.0.0.1:7480"]
    assert _here(Reach(["http://raftq"], None), planned).servers == ["http://raftq"]


async def test_a_volume_is_measured_and_left_as_it_was(planned, tmp_path):
    assert [finding.check for finding in await checks_here.volume(planned)] == ["volume", "disk"]
    assert list(tmp_path.iterdir()) == []


async def test_a_volume_that_is_not_there_is_wrong(planned, tmp_path):
    tmp_path.rmdir()
    [finding] = await checks_here.volume(planned)
    assert finding.state is State.WRONG
    assert "no such file or directory" in finding.found


async def test_a_peer_without_a_name_or_a_port_is_named(planned):
    [names] = await checks_here.names(planned)
    [peers] = await checks_here.peers(planned)
    assert (names.state, peers.state) == (State.WRONG, State.WRONG)
    assert "raftq-1" in names.found
    assert "raftq-1" in peers.found


def test_settings_that_do_not_fit_together_are_a_finding():
    planned, finding = checks_here.settings(["--name", "raftq", "--service", "raftq-headless", "--namespace", "n"])
    assert planned is None
    assert finding.state is State.WRONG


def test_settings_that_only_variables_hold_are_named_as_such(monkeypatch):
    monkeypatch.setenv("RAFTQ_PEERS", "raftq-0=127.0.0.1:7400")
    monkeypatch.setenv("RAFTQ_NAME", "no-ordinal")
    _, finding = checks_here.settings([])
    assert "unset the variables RAFTQ_…" in finding.advice
    _, finding = checks_here.settings(["--name", "raftq"])
    assert "variables" not in finding.advice


def test_away_from_an_agent_only_the_cluster_is_looked_at(monkeypatch):
    for variable in ("RAFTQ_PEERS", "RAFTQ_SERVICE", "RAFTQ_NAME"):
        monkeypatch.delenv(variable, raising=False)
    planned, finding = checks_here.settings([])
    assert (planned, finding.state) == (None, State.SKIPPED)
