"""What went into a driver is noted, and comes to the same again."""

import inspect
import os
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import driver_cluster
import msgspec
import pytest
from driver_cluster import DriverCluster
from fake_time import clock, run, until

from raftq_k8s import RaftEvent, Raftq, RaftqOptions
from raftq_k8s.node import recording, trace
from raftq_k8s.node.driver import Driver
from raftq_k8s.node.given import Node
from raftq_k8s.node.recording import DOORS, READINGS, RecordedDriver
from raftq_k8s.node.replay import Replay
from raftq_k8s.node.submissions import Token
from raftq_k8s.node.trace import Call, Ended, Ending, Recording, TraceUnreadable, TraceUnusable
from raftq_k8s.raft import election
from raftq_k8s.raft.birth import BirthRule, Doubtful, Named, Vacant
from raftq_k8s.raft.consensus import NotLeader
from raftq_k8s.raft.membership import ChangeRefused, RaiseVersion, Refusal
from raftq_k8s.raft.types import MemberId, Term
from raftq_k8s.state.commands import Put, encode
from raftq_k8s.state.machine import StateMachine
from raftq_k8s.storage.memory import MemoryVolume

ABC = ("a", "b", "c")
RED = encode(Put("colour", b'"red"'))


def eventful_life(monkeypatch: pytest.MonkeyPatch, folder: Path, **bounds: int) -> DriverCluster:
    """Three recorded drivers: born, elected, written to at leader and follower, cut off, handed over, stopped."""

    def recorded(node: Node, state: StateMachine, connected: Callable[[MemberId], bool], now: float) -> Driver:
        return RecordedDriver(node, state, connected, now, folder / f"{node.restored.member}.trace", **bounds)

    monkeypatch.setattr(driver_cluster, "Driver", recorded)
    cluster = DriverCluster(*ABC, initialised=False)
    first = cluster.elect()
    for name in ABC:
        cluster.submit(name, RED)
        cluster.read(name)
    with pytest.raises(NotLeader):
        cluster[cluster.others(first)[0]].driver.transfer(Token(0), MemberId(first), 1e9, cluster.now)
    cluster.cut.add(first)
    for other in cluster.others(first):
        cluster[other].driver.lost(MemberId(first), cluster.now)
    second = cluster.elect()
    cluster.cut.clear()
    cluster.advance(500)
    cluster[second].driver.room_changed(True, cluster.now)
    cluster[second].driver.room_changed(False, cluster.now)
    cluster[second].driver.hand_over(cluster.now)
    cluster[first].driver.observe_term(Term(40), cluster.now)
    third = cluster.elect()
    for held in cluster.nodes.values():
        held.driver.refused(cluster[third].driver.identity, Refusal("busy", "come back later"), cluster.now)
        held.driver.depart(MemberId("nobody"), cluster.now)
        held.driver.may_read_by_lease(cluster.now)
        held.driver.set_eligible(True, cluster.now)
        held.driver.witnessed(Vacant())
        with pytest.raises((NotLeader, ChangeRefused)):
            held.driver.change(Token(0), RaiseVersion(1), 1e9, cluster.now)
    cluster.settle()
    for held in cluster.nodes.values():
        held.driver.end(cluster.now)
    return cluster


def replayed(file: Path) -> tuple[Replay, Recording, list[str]]:
    with file.open("rb") as opened:
        told = Recording(opened)
        again = Replay(told)
        return again, told, [happened.what for happened in again.run()]


def test_every_public_door_of_the_driver_is_recorded() -> None:
    public = {name for name, _ in inspect.getmembers(Driver) if not name.startswith("_")}
    assert public == {*DOORS, *READINGS}, "a new door of the driver belongs in one of the lists in recording.py"


def test_every_node_of_a_cluster_comes_to_the_same_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = eventful_life(monkeypatch, tmp_path)
    for name in ABC:
        again, told, happened = replayed(tmp_path / f"{name}.trace")
        assert again.difference is None
        assert told.ending is Ending.STOPPED
        assert again.driver.standing == cluster[name].driver.standing
        assert any("is elected leader" in line or " leads in term " in line for line in happened)
        assert any(line.startswith("committed up to ") for line in happened)


def test_all_kinds_of_calls_are_in_that_life(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    eventful_life(monkeypatch, tmp_path)
    seen = set()
    for name in ABC:
        with (tmp_path / f"{name}.trace").open("rb") as opened:
            seen |= {call.door for call in Recording(opened).calls()}
    # Of what is missing, one is only ever called from outside, and the other by whoever has a snapshot.
    assert seen == {*DOORS} - {"ignore", "loaded"}


def test_a_birth_by_a_witness_comes_to_the_same_again(tmp_path: Path) -> None:
    rule = BirthRule((MemberId("a"),), None, witness="decides")
    cluster = DriverCluster("a", initialised=False, rule=rule)
    driver = RecordedDriver(cluster["a"].driver._node, StateMachine(), lambda _: True, 0.0, tmp_path / "a")
    assert driver.wish is not None
    for testimony in (Doubtful("nobody answers"), Vacant(Term(9)), Named(driver.wish, "empty it")):
        driver.witnessed(testimony)
        driver.next_actions(1.0)
    again, _, happened = replayed(tmp_path / "a")
    assert again.difference is None
    assert "nobody answers" in happened


def test_another_core_is_noticed_at_its_first_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    eventful_life(monkeypatch, tmp_path)
    monkeypatch.setattr(election, "RANK_STAGGER", 0.0)
    differing = [again for again, _, _ in (replayed(tmp_path / f"{name}.trace") for name in ABC) if again.difference]
    assert differing
    for again in differing:
        assert again.difference is not None
        assert again.difference.call == again.calls


def test_what_raised_raises_again(tmp_path: Path) -> None:
    cluster = DriverCluster("a")
    node = cluster["a"].driver._node
    driver = RecordedDriver(node, StateMachine(), lambda _: True, 0.0, tmp_path / "a")
    driver.next_actions(0.0)
    with pytest.raises(ValueError, match="never given"):
        driver.persisted(99, 1.0)
    driver.next_actions(1.0)
    again, told, happened = replayed(tmp_path / "a")
    assert again.difference is None
    assert told.ending is Ending.TORN
    assert any(line.startswith("raised ValueError") for line in happened)


def test_a_replay_does_not_depend_on_the_order_of_a_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    eventful_life(monkeypatch, tmp_path)
    for hash_seed in ("1", "4711"):
        command = [sys.executable, "-m", "raftq_k8s.cli.main", "simulate", "--replay", str(tmp_path / "a.trace")]
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.returncode, "every output is the same" in done.stdout) == (0, True), done.stdout + done.stderr


def test_a_real_runtime_is_recorded_with_times_given_as_whole_numbers(tmp_path: Path) -> None:
    file = tmp_path / "trace"

    async def scenario() -> None:
        options = RaftqOptions(bootstrap=True, heartbeat=100, minimum_election_time=200, maximum_election_time=800)
        raft = Raftq(options, volume=MemoryVolume(MemberId("a")), trace=file, clock=clock)
        await raft.dispatch(RaftEvent.SERVICE_STARTED, {"node": {"id": "a", "time": 1}})
        await until(lambda: raft.standing().established)
        for number in range(20):
            await raft.dispatch(RaftEvent.REPLICATE_DATA, {"number": number})
        raft.observe_term(Term(7))
        await until(lambda: raft.standing().established and raft.standing().term > 7)
        await raft.destroy()

    run(scenario())
    again, told, _ = replayed(file)
    assert again.difference is None
    assert told.ending is Ending.STOPPED
    assert again.calls > 40
    assert again.driver.status(again.now).commit_index >= 22
    assert file.stat().st_mode & 0o777 == 0o600


# ---------------------------------------------------------------------------------------------------------- the file


def frames(file: Path) -> list[Any]:
    with file.open("rb") as opened:
        told = Recording(opened)
        return [told.started, *told.calls()]


def test_a_torn_tail_is_passed_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    eventful_life(monkeypatch, tmp_path)
    whole = (tmp_path / "a.trace").read_bytes()
    calls = len(frames(tmp_path / "a.trace")) - 1
    for lost in range(1, 40):
        told = Recording(BytesIO(whole[:-lost]))
        assert calls - 2 <= len(list(told.calls())) <= calls
        assert told.ending is Ending.TORN
    told = Recording(BytesIO(whole[:-3] + b"\0\0\0"))  # as a machine leaves it that lost its power
    assert len(list(told.calls())) == calls
    assert told.ending is Ending.TORN


def test_damage_elsewhere_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    eventful_life(monkeypatch, tmp_path)
    damaged = bytearray((tmp_path / "a.trace").read_bytes())
    first = len(trace.MAGIC) + 8  # past its header
    second = first + int.from_bytes(damaged[len(trace.MAGIC) : len(trace.MAGIC) + 4]) + 8
    damaged[second + 1] ^= 1
    with pytest.raises(TraceUnreadable):
        list(Recording(BytesIO(bytes(damaged))).calls())


def test_a_full_trace_ends_and_the_node_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    cluster = eventful_life(monkeypatch, tmp_path, limit_bytes=5000)
    for name in ABC:
        file = tmp_path / f"{name}.trace"
        assert 4000 < file.stat().st_size < 5200
        again, told, _ = replayed(file)
        assert again.difference is None
        assert told.ending is Ending.FULL
        assert cluster[name].driver.standing.term > 40


def test_the_trace_of_the_process_before_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a.trace").write_text("of a former life")
    eventful_life(monkeypatch, tmp_path)
    assert (tmp_path / "a.trace.1").read_text() == "of a former life"
    assert replayed(tmp_path / "a.trace")[0].difference is None


def test_where_no_trace_can_be_written_the_node_does_not_start(tmp_path: Path) -> None:
    node = DriverCluster("a")["a"].driver._node
    with pytest.raises(TraceUnusable, match="no trace can be written"):
        RecordedDriver(node, StateMachine(), lambda _: True, 0.0, tmp_path / "no-folder" / "a")


class FullDisk(BytesIO):
    def write(self, data: Any) -> int:
        raise OSError(28, "No space left on device")


@pytest.mark.parametrize("failing", ["write", "flush"])
def test_a_trace_that_cannot_be_written_any_more_ends_and_the_node_goes_on(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    node = DriverCluster("a")["a"].driver._node
    driver = RecordedDriver(node, StateMachine(), lambda _: True, 0.0, tmp_path / "a")
    full = FullDisk()
    monkeypatch.setattr(full, failing, lambda *_: FullDisk.write(full, b""))
    monkeypatch.setattr(driver._trace, "_file", full)
    for now in (0.0, 1.0):
        driver.next_actions(now)
    driver.end(2.0)
    assert caplog.text.count("the trace ends here") == 1


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "no trace"),
        (b"{}", "no trace"),
        (trace.MAGIC, "started with"),
        (trace.MAGIC + trace._framed(Ended(Ending.STOPPED)), "started with"),
        (trace.MAGIC + trace._HEADER.pack(1, 0xA505DF1B) + b"\x01\0", "understood"),
    ],
)
def test_a_file_that_is_no_trace_is_a_typed_error(content: bytes, what: str) -> None:
    with pytest.raises(TraceUnreadable, match=what):
        Recording(BytesIO(content))


def test_a_second_start_an_unknown_door_and_strange_arguments_are_typed_errors(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    eventful_life(monkeypatch, tmp_path)
    started = frames(tmp_path / "a.trace")[0]
    opening = trace.MAGIC + trace._framed(started)
    for frame, what in (
        (started, "second start"),
        (Call("enter", msgspec.Raw(b"\x90"), (), 0), "no door"),
        (Call("tick", msgspec.Raw(msgspec.msgpack.encode(("soon",))), (), 0), "tick"),
    ):
        with pytest.raises(TraceUnreadable, match=what):
            list(Replay(Recording(BytesIO(opening + trace._framed(frame)))).run())


def test_a_door_that_leads_through_another_is_noted_once(tmp_path: Path) -> None:
    node = DriverCluster("a")["a"].driver._node
    driver = RecordedDriver(node, StateMachine(), lambda _: True, 0.0, tmp_path / "a")
    stranger = msgspec.structs.replace(driver.identity, member=MemberId("x"))
    driver.receive(stranger, [], 1.0)  # calls `ignore` itself
    driver.end(2.0)
    assert [frame.door for frame in frames(tmp_path / "a")[1:]] == ["receive", "end"]


def test_without_a_trace_the_driver_is_the_plain_one() -> None:
    for door in DOORS:
        assert getattr(Driver, door) is not getattr(RecordedDriver, door)
        assert not hasattr(getattr(Driver, door), "__wrapped__")
    assert recording.DOORS
