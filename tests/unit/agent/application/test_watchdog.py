"""When the watchdog starts, asks and kills: orders and a clock; and what its process does that nobody asked it to."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raftq_k8s.agent.application import watchdog
from raftq_k8s.agent.application.hooks import Notice
from raftq_k8s.agent.application.lease import Lease
from raftq_k8s.agent.application.watchdog import PACKET_BYTES, Order, Watch, boottime
from raftq_k8s.agent.application.watched import WatchedCommand

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


# ---------------------------------------------------------------------------------------------------------- processes

COMMAND = "setsid sleep 60 & echo $$ $! > {pids}; wait"
SOURCE = """
import json, socket, sys, time
watchdog = socket.socket(fileno=int(sys.argv[-1]))
now = time.clock_gettime(time.CLOCK_BOOTTIME) * 1000
watchdog.send(json.dumps({"start": 1, "ask_at": now + 60000, "kill_at": now + 60000}).encode())
assert watchdog.recv(65536)
said = sys.stdin.readline().strip()
if said == "end it":
    watchdog.send(json.dumps({"start": 0, "stop": 5, "kill_at": now + 60000}).encode())
    print(watchdog.recv(65536).decode(), flush=True)
else:
    watchdog.send(b"no order")
time.sleep(60)
"""


def lives(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, within_s=5.0):
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def family(tmp_path):
    """A watchdog, what it watches over, and its child, which has left the group."""
    pids = tmp_path / "pids"
    given = {"command": ["sh", "-c", COMMAND.format(pids=pids)], "source": [sys.executable, "-c", SOURCE]}
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", watchdog.__file__, json.dumps(given)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    yield process, [int(pid) for pid in pids.read_text().split()]
    process.kill()
    process.communicate()


def test_a_watchdog_that_fails_leaves_nobody_behind(family):
    process, pids = family
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert process.wait(5.0) == 1
    until(lambda: not any(map(lives, pids)))


def test_an_order_to_end_is_answered_when_all_has_ended_and_not_before(family):
    process, pids = family
    process.stdin.write(b"end it\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline()) == {"start": 1, "running": False, "exit": 143, "asked": True}
    assert not any(map(lives, pids))


def test_a_quit_from_the_terminal_ends_all_of_it(family):
    process, pids = family
    process.send_signal(signal.SIGQUIT)
    process.wait(5.0)
    until(lambda: not any(map(lives, pids)))


def test_a_child_whose_parent_has_ended_before_it_could_say_so_ends():
    code = f"from raftq_k8s.agent.application.watchdog import end_with; end_with({os.getppid()})(); print('lives')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")


async def test_orders_of_a_process_that_has_begun_anew_are_later_than_all_before():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    notice, lease = Notice("leader", 7, "raftq-0", None, None), Lease(7, boottime() + 1e4, boottime() + 2e4)

    async def heard(number):
        """Of the next order that has one other than 0."""
        while not (order := json.loads(await asyncio.to_thread(theirs.recv, PACKET_BYTES))).get(number):
            pass
        return order[number]

    async def life():
        command = WatchedCommand(os.dup(ours.fileno()), 1000.0, lambda term: None)
        await command.stop(notice)
        starting = asyncio.create_task(command.start(notice, lease))
        orders = await heard("stop"), await heard("start")
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        asyncio.get_running_loop().remove_reader(command._socket)
        return orders

    (former_stop, former_start), (later_stop, later_start) = await life(), await life()
    assert later_stop > former_stop
    assert later_start > former_start
