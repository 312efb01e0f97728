"""The process of `raftq run`: it starts COMMAND when it is told to, and ends it when it is told to, or told nothing.

Whoever decides (its *source*: an agent, or a process that asks one) may stand still or die at any moment, so this
process heeds only two things: its orders, each with the moments until which it holds, and its own clock. It has no
threads and no event loop, and needs nothing but the standard library: it is run as a file, by an interpreter that loads
nothing else, so there is little in it that could stand still.

An order to run names the moment at which COMMAND is asked to end (SIGTERM) and the one at which it is killed, unless
a later order puts them off. When orders cease, because the source is frozen, dead or cut off, these two moments come.
What is killed is COMMAND, its process group and all that it has ever started (they become children of this process when
their parents end). When this process itself is killed, the kernel kills COMMAND and the source. Nothing but a fencing
token helps when this process alone is stopped.

Orders and reports travel as one JSON object a packet over a pair of sockets; the clock is CLOCK_BOOTTIME, in
milliseconds.

    {"start": N, "ask_at": MS, "kill_at": MS, "environment": {…}}       run; N again puts off the two moments
    {"start": 0, "stop": M, "kill_at": MS}                              end it
    {"start": N, "running": true}                                       a report: it runs
    {"start": N, "running": false, "exit": CODE, "asked": BOOL}         it has ended, and whether it was asked to
    {"start": 0, "stop": M}                                             nothing runs that could be ended
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

PACKET_BYTES = 65536
_LONGEST_NAP_MS = 100.0
"""A sleep is counted by a clock that stops while the machine sleeps; deadlines are not."""
_LONGEST_IDLE_NAP_MS = 60_000.0
_SHORTEST_NAP_MS = 5.0
_LAST_ROUNDS_MS = 1000.0
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TO_THE_SOURCE = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)
_TO_THE_COMMAND = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_NOT_FOUND, _NOT_EXECUTABLE = 127, 126
"""Exit codes as a shell has them."""


def end_with(parent: int) -> Callable[[], None]:
    """For `preexec_fn`: SIGKILL when the thread that starts the process ends, where the kernel can do that. `parent` is
    the process of that thread: it may have ended before the child came to say so."""

    def tell_the_kernel() -> None:
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)

    return tell_the_kernel


_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) * 1000.0


# ------------------------------------------------------------------------------------------------------------ the rule


class Order(NamedTuple):
    start: int
    """0: nothing is to run."""
    ask_at: float
    kill_at: float
    environment: dict[str, str]


class Watch:
    """What is to be done with COMMAND next, given the orders so far, the clock, and what runs."""

    def __init__(self) -> None:
        self._order = Order(0, 0.0, 0.0, {})
        self._running = 0
        """The start that runs, 0 for none."""
        self._done = 0
        """The last start that was begun."""
        self._ask_at = self._kill_at = 0.0
        self._asked = False

    @property
    def running(self) -> int:
        return self._running

    def obey(self, order: Order) -> None:
        self._order = order
        if order.start and order.start == self._running:
            if not self._asked:  # what was asked to end is no longer to be relied on
                self._ask_at, self._kill_at = max(self._ask_at, order.ask_at), max(self._kill_at, order.kill_at)
        elif self._running:
            self._ask_at = 0.0
            if not order.start:
                self._kill_at = min(self._kill_at, order.kill_at)

    def orphaned(self) -> None:
        """Nobody will order anything any more."""
        self._order = Order(0, 0.0, self._kill_at, {})
        self._ask_at = 0.0

    def next(self, now: float) -> str | None:
        """`start`, `ask`, `kill` or nothing."""
        if self._running:
            if now >= self._kill_at:
                return "kill"
            return "ask" if now >= self._ask_at and not self._asked else None
        due = self._order.start > self._done and now < self._order.ask_at
        return "start" if due else None

    def started(self) -> Order:
        order = self._order
        self._running = self._done = order.start
        self._ask_at, self._kill_at = order.ask_at, order.kill_at
        self._asked = False
        return order

    def ask(self) -> None:
        self._asked = True

    def ended(self) -> tuple[int, bool]:
        """Which start it was, and whether it had been asked to end."""
        ended, self._running = self._running, 0
        return ended, self._asked

    def nap(self, now: float) -> float:
        """In milliseconds, until it is time for anything."""
        if not self._running:
            return _LONGEST_IDLE_NAP_MS
        moment = self._kill_at if self._asked else min(self._ask_at, self._kill_at)
        return min(_LONGEST_NAP_MS, max(_SHORTEST_NAP_MS, moment - now))


# ---------------------------------------------------------------------------------------------------------- processes


class Family:
    """COMMAND and all that descends from it; `others` are children of this process that do not."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self.others: set[int] = set()
        if _libc is not None:
            _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)

    @property
    def head(self) -> int | None:
        return None if self._process is None else self._process.pid

    def start(self, environment: dict[str, str]) -> int | None:
        """The exit code, where nothing could be started."""
        try:
            self._process = subprocess.Popen(
                self._command,
                env={**os.environ, **environment},
                start_new_session=True,  # and so a process group, which can be killed as one
                preexec_fn=end_with(os.getpid()),
            )
        except OSError as error:
            print(f"raftq run: {self._command[0]}: {error.strerror}", file=sys.stderr, flush=True)
            return _NOT_FOUND if isinstance(error, FileNotFoundError) else _NOT_EXECUTABLE
        return None

    def signal(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, number)

    def buried(self, code: int) -> None:
        """It was waited for by whoever waits for all children, and its number may be another's from here on."""
        if self._process is not None:
            self._process.returncode = code
            self._process = None

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        for child in self._children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def extinct(self) -> bool:
        return not self._children()

    def _children(self) -> set[int]:
        found: set[int] = set()
        for thread in Path("/proc/self/task").glob("*/children"):
            with contextlib.suppress(OSError):
                found.update(int(child) for child in thread.read_text().split())
        return found - self.others


# ----------------------------------------------------------------------------------------------------------- the loop


class Watchdog:
    def __init__(self, command: Sequence[str], source: Sequence[str]) -> None:
        """`source` is a command line without its last argument, which is the number of its socket."""
        self._watch = Watch()
        self._family = Family(command)
        self._command_exit: int | None = None
        """Of a COMMAND that has ended, while some of what it started may be left."""
        self._source_exit: int | None = None
        self._signals: list[int] = []
        self._heard, self._wake = socket.socketpair()
        self._heard.setblocking(False)
        self._wake.setblocking(False)
        self._orders: socket.socket | None
        self._orders, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._orders.setblocking(False)
        with theirs:
            self._source = subprocess.Popen(
                [*source, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                process_group=0,  # a Ctrl-C in the terminal reaches it through this process, once
                preexec_fn=end_with(os.getpid()),
            )
        self._family.others.add(self._source.pid)

    def run(self) -> int:
        """Until the source has ended, and COMMAND as well. Returns the exit code of the source."""
        try:
            return self._run()
        except BaseException:  # whatever it is: nobody would watch over what is left
            self._leave_nobody()
            raise

    def _run(self) -> int:
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (*_TO_THE_SOURCE, *_TO_THE_COMMAND, signal.SIGCHLD):
            signal.signal(number, lambda number, frame: self._signals.append(number))
        for number in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            signal.signal(number, lambda number, frame: None)  # COMMAND would run on, and nobody would end it
        while True:
            self._bury()
            self._act()
            if self._source_exit is not None and not self._watch.running:
                return self._source_exit
            self._listen(self._watch.nap(boottime()))
            self._pass_signals_on()

    def _leave_nobody(self) -> None:
        deadline = boottime() + _LAST_ROUNDS_MS
        while boottime() < deadline:
            self._family.kill()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            if self._family.extinct():
                return
            time.sleep(_SHORTEST_NAP_MS / 1000)

    def _listen(self, nap_ms: float) -> None:
        poll = select.poll()
        poll.register(self._heard, select.POLLIN)
        if self._orders is not None:
            poll.register(self._orders, select.POLLIN)
        poll.poll(nap_ms)
        with contextlib.suppress(BlockingIOError):
            self._heard.recv(4096)
        while self._orders is not None:
            try:
                packet = self._orders.recv(PACKET_BYTES)
            except BlockingIOError:
                return
            except OSError:
                packet = b""
            if packet:
                self._obey(json.loads(packet))
            else:
                self._orders = None
                self._watch.orphaned()

    def _obey(self, order: dict[str, Any]) -> None:
        self._watch.obey(
            Order(order["start"], order.get("ask_at", 0.0), order["kill_at"], order.get("environment", {}))
        )
        if not order["start"] and not self._watch.running:
            self._report({"start": 0, "stop": order["stop"]})

    def _pass_signals_on(self) -> None:
        while self._signals:
            number = self._signals.pop(0)
            if number in _TO_THE_COMMAND:
                self._family.signal(number)
            elif number in _TO_THE_SOURCE and self._source_exit is None:
                os.kill(self._source.pid, signal.SIGTERM)  # it is waited for here alone, so the number is still its own

    def _bury(self) -> None:
        """Wait for every child that has ended, those that were inherited included."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            if ended.si_pid == self._family.head:
                self._family.signal(signal.SIGKILL)  # its group has that number only as long as it is not buried
            pid, status = os.waitpid(ended.si_pid, 0)
            code = os.waitstatus_to_exitcode(status)
            if pid == self._source.pid:
                self._source_exit = _as_shells_say(code)
                self._source.returncode = code
                self._family.others.discard(pid)
                self._watch.orphaned()
            elif pid == self._family.head:
                self._family.buried(code)
                self._command_exit = _as_shells_say(code)

    def _act(self) -> None:
        if self._command_exit is not None:
            self._family.kill()
            if self._family.extinct():
                self._ended(self._command_exit)
        match self._watch.next(boottime()):
            case "start":
                order = self._watch.started()
                refused = self._family.start(order.environment)
                if refused is None:
                    self._report({"start": order.start, "running": True})
                else:
                    self._ended(refused)
            case "ask":
                self._watch.ask()
                self._family.signal(signal.SIGTERM)
                self._family.signal(signal.SIGCONT)
            case "kill":
                self._family.kill()
            case _:
                pass

    def _ended(self, code: int) -> None:
        self._command_exit = None
        start, asked = self._watch.ended()
        self._report({"start": start, "running": False, "exit": code, "asked": asked})

    def _report(self, report: dict[str, Any]) -> None:
        if self._orders is not None:
            with contextlib.suppress(OSError):  # it stands still, and will ask again
                self._orders.send(json.dumps(report).encode())


def _as_shells_say(code: int) -> int:
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    _given = json.loads(sys.argv[1])
    sys.exit(Watchdog(_given["command"], _given["source"]).run())
