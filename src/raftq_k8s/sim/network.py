"""Connections between simulated processes, as bad as the real ones.

A pair of processes is dialled until it is connected; both say hello; a side sends as soon as it has accepted the
other's hello, and hears what comes before only afterwards. A connection that dies is a hint to each side that notices:
at once when a process was killed, after seconds of silence when a machine died, a process is frozen, or packets are
dropped. In *stream* style, like a websocket, what is sent on a connection arrives in order, late when packets were
dropped meanwhile, or not at all when the connection dies. In *datagram* style, like an application's own transport,
each message is on its own: lost, doubled and overtaken at will.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from raftq_k8s.node.transport import Wire
from raftq_k8s.raft.membership import Hello, Identity, Refusal
from raftq_k8s.raft.output import Accepted, Refused
from raftq_k8s.raft.types import Instant, MemberId, Milliseconds
from raftq_k8s.sim.dice import Dice
from raftq_k8s.sim.events import Events

if TYPE_CHECKING:
    from raftq_k8s.sim.machine import Machine

SILENCE: tuple[Milliseconds, Milliseconds] = (4000.0, 6000.0)
"""After so long without a sign of life a side gives a connection up."""
REDIAL: tuple[Milliseconds, Milliseconds] = (20.0, 400.0)
FIRST_DIAL: tuple[Milliseconds, Milliseconds] = (1.0, 60.0)
REFUSED_REDIAL: tuple[Milliseconds, Milliseconds] = (1000.0, 3000.0)
RETRANSMIT: tuple[Milliseconds, Milliseconds] = (1.0, 400.0)


class End:
    """One side of a connection."""

    __slots__ = ("accepted", "arrives_after", "life", "machine", "open", "peer", "process", "stalled", "waiting")

    def __init__(self, machine: "Machine") -> None:
        self.machine = machine
        self.life = machine.life
        self.peer: End = self
        self.open = True
        self.process: Identity | None = None
        """Who said hello here last."""
        self.accepted = False
        self.waiting: list[Sequence[Wire]] = []
        """What arrived before the hello was accepted."""
        self.stalled: list[Sequence[Wire] | Hello] = []
        """What this side sent while packets were dropped."""
        self.arrives_after: Instant = 0.0


class Weather:
    """What the network does to a message, by default nothing but a little delay."""

    __slots__ = ("cut", "doubled", "latency", "lost", "overtaken", "slowed_by")

    def __init__(self, latency: tuple[Milliseconds, Milliseconds]) -> None:
        self.latency = latency
        self.slowed_by = 1.0
        self.lost = self.doubled = self.overtaken = 0.0
        self.cut: dict[tuple[MemberId, MemberId], int] = {}
        """By how many faults each direction is cut."""


class Network:
    def __init__(self, events: Events, dice: Dice, weather: Weather, stream: bool) -> None:
        self.weather = weather
        self._events, self._dice, self._stream = events, dice, stream
        self._machines: dict[MemberId, Machine] = {}
        self._routes: dict[tuple[MemberId, MemberId], End] = {}
        self._ends: dict[MemberId, list[End]] = {}
        self._dialling: set[tuple[MemberId, MemberId]] = set()
        self._cuts = 0

    def add(self, machine: "Machine") -> None:
        self._machines[machine.host] = machine
        self._ends[machine.host] = []

    # ------------------------------------------------------------------------------------------------------- connecting

    def started(self, machine: "Machine") -> None:
        for host, other in self._machines.items():
            if other.name != machine.name:
                self._want(machine.host, host, FIRST_DIAL)

    def _want(self, one: MemberId, other: MemberId, delay: tuple[Milliseconds, Milliseconds]) -> None:
        pair = (one, other) if one < other else (other, one)
        if pair not in self._dialling:
            self._dialling.add(pair)
            self._events.after(self._dice.between(*delay), self._dial, pair)

    def _dial(self, pair: tuple[MemberId, MemberId]) -> None:
        self._dialling.discard(pair)
        one, other = (self._machines[name] for name in pair)
        if not (one.up and other.up):
            return  # whoever starts dials again
        route = self._routes.get((one.host, other.name))
        if route is not None and self._routes.get((other.host, one.name)) is route.peer:
            return
        if one.frozen or other.frozen or self._is_cut(*pair) or self._is_cut(pair[1], pair[0]):
            self._want(*pair, REDIAL)
            return
        near, far = End(one), End(other)
        near.peer, far.peer = far, near
        for end in (near, far):
            self._ends[end.machine.host].append(end)
        for end in (near, far):
            self._transmit(end, end.machine.driver.hello())
        self._events.after(1500.0, self._give_up_greeting, near)

    def _give_up_greeting(self, end: End) -> None:
        if end.open and end.peer.open and not (end.accepted and end.peer.accepted):
            self._break(end)

    def announce(self, machine: "Machine") -> None:
        hello = machine.driver.hello()
        for end in list(self._ends[machine.host]):
            self._transmit(end, hello)

    def verdict(self, machine: "Machine", verdict: Accepted | Refused) -> None:
        for end in list(self._ends[machine.host]):
            match verdict:
                case Accepted(identity) if end.process == identity and not end.accepted:
                    self._accept(end)
                case Refused(identity, refusal) if end.process is not None and end.process.is_process(identity):
                    self._close(end)
                    by = machine.driver.identity
                    self._events.after(self._latency(), self._turned_away, end.peer, by, refusal)
                case _:
                    pass

    def _turned_away(self, end: End, by: Identity, refusal: Refusal) -> None:
        if end.open and end.life == end.machine.life and not self._is_cut(end.peer.machine.host, end.machine.host):
            end.machine.refused(by, refusal)
        self._gone(end, REFUSED_REDIAL)

    def _accept(self, end: End) -> None:
        end.accepted = True
        key = (end.machine.host, end.peer.machine.name)
        earlier = self._routes.get(key)
        self._routes[key] = end
        if earlier is not None and earlier is not end:
            self._close(earlier)
            self._events.after(self._latency(), self._gone, earlier.peer, REDIAL)
        waiting, end.waiting = end.waiting, []
        for frame in waiting:
            self._events.after(0.0, self._arrive, end, frame)

    # ---------------------------------------------------------------------------------------------------------- sending

    def connected(self, one: MemberId, other: MemberId) -> bool:
        return (one, other) in self._routes

    def send(self, machine: "Machine", destination: MemberId, messages: Sequence[Wire]) -> None:
        end = self._routes.get((machine.host, destination))
        if end is None:
            return
        if self._stream:
            self._transmit(end, messages)
            return
        weather, dice = self.weather, self._dice
        for message in messages:
            if weather.lost and dice.chance(weather.lost):
                continue
            self._transmit(end, (message,))
            if weather.doubled and dice.chance(weather.doubled):
                self._transmit(end, (message,))

    def _transmit(self, end: End, frame: Sequence[Wire] | Hello) -> None:
        weather = self.weather
        if weather.cut and self._is_cut(end.machine.host, end.peer.machine.host):
            if self._stream or isinstance(frame, Hello):
                end.stalled.append(frame)
            return
        at = self._events.now + self._latency()
        if self._stream:
            at = end.arrives_after = max(at, end.arrives_after)
        elif weather.overtaken and self._dice.chance(weather.overtaken):
            at += self._dice.between(0.0, 1000.0)
        self._events.at(at, self._arrive, end.peer, frame)

    def _latency(self) -> Milliseconds:
        return self._dice.between(*self.weather.latency) * self.weather.slowed_by

    def _arrive(self, end: End, frame: Sequence[Wire] | Hello) -> None:
        if not end.open or end.life != end.machine.life:
            return
        if isinstance(frame, Hello):
            end.process = frame.identity
            end.accepted = False
            end.machine.greeted(frame)
        elif end.accepted and end.process is not None:
            end.machine.received(end.process, frame)
        else:
            end.waiting.append(frame)

    # -------------------------------------------------------------------------------------------------- connections end

    def _close(self, end: End) -> None:
        """This side lets go of the connection, of its own accord."""
        if not end.open:
            return
        end.open = False
        end.stalled.clear()
        self._ends[end.machine.host].remove(end)
        key = (end.machine.host, end.peer.machine.name)
        if self._routes.get(key) is end:
            del self._routes[key]

    def _gone(self, end: End, redial: tuple[Milliseconds, Milliseconds]) -> None:
        """This side notices that the connection is dead."""
        peer = end.peer.machine.name
        if end.open:
            was_route = self._routes.get((end.machine.host, peer)) is end
            self._close(end)
            if was_route:
                end.machine.lost(peer)
        self._want(end.machine.host, end.peer.machine.host, redial)

    def _break(self, end: End) -> None:
        for side in (end, end.peer):
            self._events.after(self._latency(), self._gone, side, REDIAL)

    def break_between(self, one: MemberId, other: MemberId) -> None:
        """The connection dies, and both sides hear of it."""
        for end in list(self._ends[one]):
            if end.peer.machine.host == other:
                self._break(end)

    def died(self, machine: "Machine", silently: bool) -> None:
        """A process ends. Its peers hear of that at once if its machine still runs and reaches them."""
        for end in list(self._ends[machine.host]):
            self._close(end)
            silent = silently or self._is_cut(machine.host, end.peer.machine.host)
            delay = self._dice.between(*SILENCE) if silent else self._latency()
            self._events.after(delay, self._gone, end.peer, REDIAL)

    def froze(self, machine: "Machine", nap: int) -> None:
        self._events.after(self._dice.between(*SILENCE), self._frozen_for_long, machine, nap)

    def _frozen_for_long(self, machine: "Machine", nap: int) -> None:
        if machine.frozen and machine.naps == nap:
            for end in list(self._ends[machine.host]):
                self._gone(end.peer, REDIAL)
                self._gone(end, REDIAL)

    # ------------------------------------------------------------------------------------------------------------- cuts

    def _is_cut(self, source: MemberId, destination: MemberId) -> bool:
        return (source, destination) in self.weather.cut

    def cut(self, directions: Sequence[tuple[MemberId, MemberId]]) -> None:
        for direction in directions:
            times = self.weather.cut.get(direction, 0)
            self.weather.cut[direction] = times + 1
            if not times:
                self._events.after(self._dice.between(*SILENCE), self._silent_for_long, direction)

    def _silent_for_long(self, direction: tuple[MemberId, MemberId]) -> None:
        if not self._is_cut(*direction):
            return
        for end in list(self._ends[direction[0]]):
            if end.peer.machine.host == direction[1]:
                self._gone(end, REDIAL)
                self._gone(end.peer, REDIAL)

    def mend(self, directions: Sequence[tuple[MemberId, MemberId]]) -> None:
        for direction in directions:
            times = self.weather.cut.get(direction, 0)
            if times > 1:
                self.weather.cut[direction] = times - 1
            elif times:
                del self.weather.cut[direction]
                self._send_again(direction)

    def _send_again(self, direction: tuple[MemberId, MemberId]) -> None:
        delay = self._dice.between(*RETRANSMIT)
        for end in self._ends[direction[0]]:
            if end.peer.machine.host == direction[1]:
                stalled, end.stalled = end.stalled, []
                end.arrives_after = max(end.arrives_after, self._events.now + delay)
                for frame in stalled:
                    self._events.at(end.arrives_after, self._arrive, end.peer, frame)
