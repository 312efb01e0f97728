"""Random histories: no two applications run at one moment, whatever the agents, the log and the clocks do within what
the application lease rests on.

Consensus is a model here: who leads, what is committed, and the promise that nobody is elected within a window of a
round that a majority acknowledged (unless leadership is transferred). Clocks run up to a tenth apart. Agents stand
still at any moment, also between a decision and its deed; beside each there is a watchdog that does not.
"""

import math
import random

import pytest

from raftq_k8s.agent.application import lease as rule
from raftq_k8s.agent.application.lease import (
    ApplicationLease,
    Claim,
    HandOver,
    Lease,
    Raft,
    Release,
    Start,
    Stop,
    Times,
)
from raftq_k8s.raft.types import Index
from raftq_k8s.state.agreements import Agreements
from raftq_k8s.state.commands import Starting, Stopped

WINDOW = 1000.0
STOP = 6000.0
NAMES = ("a", "b", "c")


class TwoAtOnce(Exception):
    pass


class Agent:
    def __init__(self, world, name):
        self.world, self.name = world, name
        self.rate = world.dice.uniform(0.955, 1.045)
        self.term = 0
        self.leads_until = -math.inf
        """On its own clock; minus infinity while it follows."""
        self.read = 0
        self.log = Agreements()
        self.frozen_until = 0.0
        self.lease = ApplicationLease(name, Times(WINDOW, STOP, unhealthy_after=3000.0))
        self.pending = None
        self.watched: Lease | None = None
        """What the watchdog was told last, while the application runs."""

    def clock(self):
        return self.world.now * self.rate

    def follow_log(self, upto):
        for index in range(self.read, upto):
            self.log.apply(Index(index + 1), self.world.log[index])
        self.read = max(self.read, upto)

    def raft(self):
        leads = self.clock() < self.leads_until
        leader = self.world.leader.name
        return Raft(self.clock(), self.term, leader, leads, self.leads_until, True, self.log.application)

    def watch(self):
        """The process beside it, which heeds nothing but what it was told, and its own clock."""
        if self.watched is not None and self.clock() >= self.watched.kill_at:
            self.watched = None

    def act(self):
        dice = self.world.dice
        if self.pending is not None:
            doing, self.pending = self.pending, None
            doing()
            return
        if dice.random() < 0.01:
            self.lease.report_health(dice.random() < 0.6, self.clock())
        if dice.random() < 0.002:
            (self.lease.resume if self.lease.withdrawn else self.lease.withdraw)()
        act = self.lease.next(self.raft())
        if self.watched is not None and self.lease.lease is not None:
            self.watched = self.lease.lease
        match act:
            case Claim(term):
                self.pending = lambda: self.world.submit(self, Starting(term, self.name, self.lease._times.within))
            case Start():
                self.lease.starting(self.raft())
                told = self.lease.lease
                self.pending = lambda: self.start(told)
            case Stop():
                self.pending = self.stop
            case Release(term):
                self.pending = lambda: self.release(term)
            case HandOver():
                self.pending = self.hand_over

    def start(self, told):
        if self.clock() < told.ask_at:  # the watchdog starts it
            self.watched = told
            self.lease.promoted(told.term)
        else:
            self.lease.failed(told.term)

    def stop(self):
        if self.world.dice.random() < 0.3:
            self.pending = self.stop  # it takes its time
            return
        self.watched = None
        self.lease.stopped()

    def release(self, term):
        if not self.world.submit(self, Stopped(term)):
            self.lease.release_unknown(term)

    def hand_over(self):
        if self.clock() < self.leads_until and self.world.dice.random() < 0.7:
            self.world.elect(transfer=True)
        else:
            self.lease.kept(self.clock())


class World:
    def __init__(self, seed):
        self.dice = random.Random(seed)
        self.now = 0.0
        self.log = []
        self.late = []
        self.nobody_before = 0.0
        self.agents = [Agent(self, name) for name in NAMES]
        self.leader = self.agents[0]
        self.term = 0
        self.starts = 0
        self.elect(transfer=True)

    def elect(self, transfer=False):
        awake = [agent for agent in self.agents if agent.frozen_until <= self.now]
        if not awake or (self.now < self.nobody_before and not transfer):
            return
        self.term += 1
        self.leader = self.dice.choice(awake)
        self.leader.term = self.term
        self.round()
        self.leader.follow_log(len(self.log))

    def round(self):
        """The leader of the newest term hears a majority."""
        leader = self.leader
        self.nobody_before = self.now + WINDOW / 1.045
        leader.leads_until = self.now * leader.rate + 0.9 * WINDOW

    def submit(self, agent, command):
        """Whether its outcome is known."""
        if agent.clock() < agent.leads_until and agent is not self.leader:
            return False  # it goes into a log that nobody commits any more
        fate = self.dice.random()
        if fate < 0.15:
            self.late.append(command)  # it comes once more, whenever it likes
        if fate < 0.1:
            return False
        self.log.append(command)
        if fate < 0.2:
            return False
        agent.follow_log(len(self.log))
        return True

    def step(self):
        dice = self.dice
        self.now += dice.choice((1.0, 20.0, 100.0, 300.0))
        for agent in self.agents:
            agent.watch()
        self.check()
        if dice.random() < 0.05:
            self.elect(transfer=dice.random() < 0.3)
        if self.late and dice.random() < 0.05:
            self.log.append(self.late.pop(dice.randrange(len(self.late))))
        if dice.random() < 0.01:
            dice.choice(self.agents).frozen_until = self.now + dice.choice((100.0, 2000.0, 20_000.0))
        if self.leader.frozen_until <= self.now and dice.random() < 0.7:
            self.round()
        for agent in dice.sample(self.agents, len(self.agents)):
            if agent.frozen_until > self.now:
                continue
            if agent is not self.leader and dice.random() < 0.3:
                agent.term, agent.leads_until = self.term, -math.inf  # it hears of the newer term
                agent.follow_log(dice.randint(agent.read, len(self.log)))
            for _ in range(dice.randint(0, 3)):
                ran = agent.watched is not None
                agent.act()
                self.starts += not ran and agent.watched is not None
                self.check()

    def check(self):
        running = [agent for agent in self.agents if agent.watched is not None]
        if len(running) > 1:
            raise TwoAtOnce(f"{self.now:.0f}: {[(agent.name, agent.watched) for agent in running]}")


def lived(seed, steps=1500):
    world = World(seed)
    for _ in range(steps):
        world.step()
    return world.starts


def test_no_two_applications_run_at_one_moment():
    starts = [lived(seed) for seed in range(60)]
    assert min(starts) > 2  # and yet it runs


def waits_for_nobody(lease, raft, original):
    act = original(lease, raft)
    if raft.leads and raft.holding is not None and isinstance(act, rule.Rest) and lease.condition == rule.Idle():
        return Claim(raft.term)
    return act


def starts_again_after_an_unknown_release(lease, raft, original):
    lease._spent = 0
    return original(lease, raft)


def releases_before_it_has_stopped(lease, raft, original):
    act = original(lease, raft)
    if isinstance(act, Stop) and lease._holds(raft.holding):
        return Release(raft.holding.term)
    return act


def relies_on_the_time_of_the_last_look(lease, raft, original):
    act = original(lease, raft)
    if raft.leads and isinstance(lease.condition, rule.Running):
        lease._lease = Lease(raft.term, raft.now + STOP / 2, raft.now + STOP + WINDOW)
    return act


@pytest.mark.parametrize(
    "wrong",
    [
        waits_for_nobody,
        starts_again_after_an_unknown_release,
        releases_before_it_has_stopped,
        relies_on_the_time_of_the_last_look,
    ],
)
def test_a_wrong_rule_shows(monkeypatch, wrong):
    original = ApplicationLease.next
    monkeypatch.setattr(ApplicationLease, "next", lambda lease, raft: wrong(lease, raft, original))
    with pytest.raises(TwoAtOnce):
        sum(lived(seed) for seed in range(200))
