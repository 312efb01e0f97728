"""Two pods never wear the label at one moment, and the latest leader gets it in the end, in whatever order things go.

A model of the API (optimistic concurrency, nothing else) and processes that decide by the real `decide`. Hypothesis
plays network, Raft, kubelet and StatefulSet controller: requests are late, lost, repeated and carried out in any order,
answers are lost, leaders are deposed without hearing of it, processes restart, pods are created again while a process
of the old one lives on. Raft promises the model one thing: a term has one leader, each election has a higher term.
"""

import random

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from raftq_k8s.kube.label import LEADER, Follows, Gone, Leads, Mark, OwnPod, Pod, decide

NAMES = ("raftq-0", "raftq-1", "raftq-2")


class Process:
    def __init__(self, pod):
        self.own = OwnPod(pod.name, pod.uid)
        self.restart()

    def restart(self):
        self.raft = Follows()
        self.seen = {}


class Api:
    def __init__(self):
        self.pods = {}
        self.versions = 1

    def _next(self):
        self.versions += 1
        return str(self.versions)

    def create(self, name):
        self.pods[name] = Pod(name, f"uid-{self._next()}", self._next(), None, Mark(), True)
        return self.pods[name]

    def touch(self, name):
        self.pods[name] = msgspec.structs.replace(self.pods[name], resource_version=self._next())

    def carry_out(self, write):
        pod = self.pods.get(write.name)
        if pod is None:
            return 404
        if (write.uid, write.resource_version) != (pod.uid, pod.resource_version):
            return 409
        after = msgspec.structs.replace(pod, role=write.role, mark=write.mark or pod.mark)
        if after != pod:
            self.pods[write.name] = msgspec.structs.replace(after, resource_version=self._next())
        return self.pods[write.name]

    def labelled(self):
        return {pod.name for pod in self.pods.values() if pod.role == LEADER}


class World:
    """Processes, their requests under way, and the API. Each action takes a number that picks who or what."""

    def __init__(self):
        self.api = Api()
        self.processes = [Process(self.api.create(name)) for name in NAMES]
        self.network = []
        self.term = 0

    def step(self, action, number):
        getattr(self, action)(number)
        assert len(self.api.labelled()) <= 1

    def _process(self, number):
        return self.processes[number % len(self.processes)]

    # Raft.

    def elect(self, number):
        self.term += 1
        self._process(number).raft = Leads(self.term, "c", NAMES)

    def depose(self, number):
        self._process(number).raft = Follows()

    def restart(self, number):
        self._process(number).restart()

    # What a labeller does. What it saw may be old by the time it acts.

    def look(self, number):
        process = self._process(number)
        gone = {name: pod for name, pod in process.seen.items() if isinstance(pod, Gone)}
        process.seen = {**gone, **self.api.pods}

    def read_own(self, number):
        process = self._process(number)
        self._read(process, process.own.name)

    def read_other(self, number):
        self._read(self._process(number), NAMES[number // len(self.processes) % len(NAMES)])

    def act(self, number):
        process = self._process(number)
        self.network += [(process, write) for write in decide(process.seen, process.own, process.raft).writes]

    def work(self, number):
        """An uninterrupted stretch, which alone would take a dozen actions in the right order."""
        self.look(number)
        process = self._process(number)
        for _ in range(3):
            for write in decide(process.seen, process.own, process.raft).writes:
                self._carry_out(process, write)

    def _read(self, process, name):
        if name in self.api.pods:
            process.seen[name] = self.api.pods[name]
        else:
            process.seen.pop(name, None)

    # The network.

    def deliver(self, number):
        if self.network:
            self._carry_out(*self.network.pop(number % len(self.network)))

    def deliver_and_keep(self, number):
        """A proxy will send it again."""
        if self.network:
            self._carry_out(*self.network[number % len(self.network)])

    def lose_answer(self, number):
        if self.network:
            process, write = self.network.pop(number % len(self.network))
            self.api.carry_out(write)
            process.seen.pop(write.name, None)

    def lose(self, number):
        if self.network:
            del self.network[number % len(self.network)]

    def _carry_out(self, process, write):
        answer = self.api.carry_out(write)
        assert len(self.api.labelled()) <= 1
        if isinstance(answer, Pod):
            process.seen[write.name] = answer
        elif answer == 404 and write.mark is not None:
            process.seen[write.name] = Gone(write.mark)
        else:
            self._read(process, write.name)

    # The kubelet and the StatefulSet controller.

    def touch(self, number):
        if (name := NAMES[number % 3]) in self.api.pods:
            self.api.touch(name)

    def delete(self, number):
        """By force: the process may live on."""
        self.api.pods.pop(NAMES[number % 3], None)

    def create(self, number):
        if (name := NAMES[number % 3]) not in self.api.pods:
            self.processes.append(Process(self.api.create(name)))

    def clear_up(self):
        """The weather clears: the latest leader, or one elected now, gets the label; late requests change nothing."""
        for number in range(3):
            self.create(number)
        at_home = [process for process in self.processes if self.api.pods[process.own.name].uid == process.own.uid]
        latest = next((process for process in at_home if process.raft == Leads(self.term, "c", NAMES)), None)
        if latest is None:
            self.term += 1
            latest = at_home[0]
            latest.raft = Leads(self.term, "c", NAMES)
        for _ in range(6):
            for number, process in enumerate(self.processes):
                self.look(number)
                decision = decide(process.seen, process.own, process.raft)
                if decision.above is not None:
                    process.raft = Follows()
                for write in decision.writes:
                    self._carry_out(process, write)
            for process, write in self.network:
                self._carry_out(process, write)
        assert self.api.labelled() == {latest.own.name}
        assert {pod.mark for pod in self.api.pods.values()} == {Mark(self.term, "c")}
        assert [decide(self.api.pods, process.own, process.raft).writes for process in at_home] == [()] * len(at_home)


OFTEN = ("elect", "look", "read_own", "act", "act", "work", "work", "deliver", "deliver", "create")
SELDOM = ("depose", "restart", "read_other", "deliver_and_keep", "lose_answer", "lose", "touch", "delete")
ACTIONS = OFTEN * 2 + SELDOM


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 35)), max_size=40))
def test_never_two_labels_and_the_latest_leader_wins_in_the_end(steps):
    world = World()
    for action, number in steps:
        world.step(action, number)
    world.clear_up()


def test_neither_in_long_walks():
    """Two labels would need a rare order of a dozen events, so there are many walks here, each with its own weather."""
    for seed in range(5000):
        generator = random.Random(seed)
        weather = ACTIONS + ("delete", "create", "read_own") * (seed % 3)
        world = World()
        try:
            for _ in range(60):
                world.step(generator.choice(weather), generator.randrange(36))
            world.clear_up()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
