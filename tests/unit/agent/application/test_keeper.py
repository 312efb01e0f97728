"""The keeper of the application against a node that is only told what Raft says, and hooks that only note it."""

import asyncio
from types import SimpleNamespace

import pytest

from raftq_k8s.agent.application.hooks import HookFailed
from raftq_k8s.agent.application.keeper import Keeper, Patience
from raftq_k8s.agent.application.lease import ApplicationLease, Times
from raftq_k8s.agent.application.reports import Reports
from raftq_k8s.api.views import ApplicationReport, OperationRefused
from raftq_k8s.node.errors import NoLeader, NotStarted, OutcomeUnknown, TransferFailed
from raftq_k8s.node.status import NOBODY
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.types import Index
from raftq_k8s.state.agreements import Agreements, Holding
from raftq_k8s.state.commands import Starting, Stopped

ME = "raftq-0@here"


class FakeNode:
    def __init__(self):
        self._standing = NOBODY
        self._changed = asyncio.Event()
        self._log = Agreements()
        self.submitted = []
        self.refusals = []
        self.transfers = []
        self.takes_over = True
        self.paused = None
        self.has_failed = False

    @property
    def application(self):
        return self._log.application

    def status(self):
        standing = self._standing
        return SimpleNamespace(
            term=standing.term,
            leader=standing.leader,
            leader_http="there:7480",
            established=standing.established,
            quorum_left_ms=900.0 if standing.role == "leader" else 0.0,
            applied_index=len(self.submitted),
            commit_index=len(self.submitted),
        )

    def standing(self):
        return self._standing

    async def next_standing(self, seen):
        while self._standing == seen:
            if self.has_failed:
                raise NotStarted("this node was stopped")
            self._changed.clear()
            await self._changed.wait()
        return self._standing

    async def submit(self, command, timeout_s):
        if self.has_failed:
            raise NotStarted("this node was stopped")
        self.submitted.append(command)
        if self.refusals:
            raise self.refusals.pop(0)
        return self._log.apply(Index(len(self.submitted)), command)

    async def transfer(self, target, timeout_s):
        self.transfers.append(target)
        if not self.takes_over:
            raise TransferFailed("nobody took it")
        self.follow("raftq-1", self._standing.term + 1)
        return "raftq-1"

    def hold(self, command):
        self._log.apply(Index(1), command)

    def lead(self, term):
        self._become(Standing("leader", term, "raftq-0", established=True))

    def follow(self, leader, term):
        self._become(Standing("follower", term, leader, established=False))

    def fail(self):
        """As a node whose volume is full: it takes no part, and its process stays."""
        self.has_failed = True
        self.follow(None, self._standing.term)

    def _become(self, standing):
        self._standing = standing
        self._changed.set()


class NotingHook:
    name = "noting"

    def __init__(self, log):
        self._log = log
        self.failing = set()
        self.slow = set()

    async def start(self, notice, lease):
        await self._note("start", notice.term)

    async def stop(self, notice):
        await self._note("stop", notice.term)

    async def ended(self):
        await self._note("ended")

    async def tell(self, notice):
        await self._note("tell", notice.leader, notice.term)

    async def renew(self, notice, lease):
        await self._note("renew", notice.term)

    async def _note(self, what, *more):
        self._log.append((what, *more))
        if what in self.slow:
            await asyncio.sleep(60)
        if what in self.failing:
            raise HookFailed("as it was told")


class Scene:
    def __init__(self, *, reports=False, stop_timeout=10_000.0):
        self.log = []
        self.node = FakeNode()
        self.hook = NotingHook(self.log)
        hooks = [self.hook, *([Reports(stop_timeout)] if reports else [])]
        times = Times(1000.0, stop_timeout, unhealthy_after=50.0)
        patience = Patience(start=5.0, stop=0.3, tell=1.0, renew=20.0)
        lease = ApplicationLease(ME, times)
        self.keeper = Keeper(self.node, "raftq-0", ME, lease, hooks, patience, within_ms=times.within)
        self._task = None

    async def __aenter__(self):
        await self.keeper.stop_former_life()
        self._task = asyncio.create_task(self.keeper.run())
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def told(self, *kinds):
        return [entry for entry in self.log if entry[0] in kinds]

    async def until(self, condition, within_s=5.0):
        async with asyncio.timeout(within_s):
            while True:
                if condition():
                    return
                await asyncio.sleep(0.005)

    async def promoted(self, term):
        await self.until(lambda: self.keeper.promoted_in() == term)


async def test_the_application_is_told_to_stop_before_raft_starts_and_once():
    async with Scene() as scene:
        await scene.until(lambda: scene.keeper.state().state == "stopped")
        assert scene.told("stop", "ended") == [("stop", 0), ("ended",)]


async def test_a_leader_says_that_it_starts_then_starts_and_renews():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        assert [(command.term, command.holder, command.within_ms) for command in scene.node.submitted] == [
            (3, ME, 10_000)
        ]
        assert scene.told("start") == [("start", 3)]
        await scene.until(lambda: len(scene.told("renew")) > 1)
        state = scene.keeper.state()
        assert (state.wanted, state.state, state.term, state.holder) == ("running", "promoted", 3, "raftq-0")
        assert 8000 < state.lease_left_ms < 9000
        assert 3500 < state.ask_left_ms < 4500


async def test_a_deposed_leader_stops_it_and_says_so():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        scene.node.follow("raftq-1", 4)
        await scene.until(lambda: scene.node.application is None)
        assert scene.keeper.promoted_in() is None
        assert scene.told("start", "stop", "ended")[2:] == [("start", 3), ("stop", 4), ("ended",)]
        await scene.until(lambda: scene.told("tell") == [("tell", "raftq-1", 4)])


async def test_a_start_that_takes_long_is_broken_off_by_a_stop():
    async with Scene() as scene:
        scene.hook.slow.add("start")
        scene.node.lead(3)
        await scene.until(lambda: scene.told("start"))
        assert scene.keeper.state().state == "starting"
        scene.node.follow("raftq-1", 4)
        await scene.until(lambda: scene.node.application is None)
        assert scene.keeper.hooks_told["noting", "killed"] == 1
        assert scene.keeper.promoted_in() is None


async def test_a_leader_starts_as_soon_as_the_former_holder_has_stopped():
    async with Scene() as scene:
        scene.node.hold(Starting(2, "raftq-1@there", 60_000))
        scene.node.lead(3)
        await asyncio.sleep(0.1)
        assert scene.told("start") == []
        scene.node.hold(Stopped(2))
        await scene.promoted(3)


async def test_a_stop_that_takes_too_long_is_killed_and_tried_again():
    async with Scene(stop_timeout=300.0) as scene:
        await scene.until(lambda: scene.keeper.state().state == "stopped")
        scene.node.lead(3)
        await scene.promoted(3)
        scene.hook.slow.add("stop")
        scene.node.follow("raftq-1", 4)
        await scene.until(lambda: scene.keeper.hooks_told["noting", "killed"] >= 1)
        assert scene.node.application == Holding(3, ME, 300)
        scene.hook.slow.clear()
        await scene.until(lambda: scene.node.application is None)


async def test_what_could_not_be_committed_is_tried_again():
    async with Scene() as scene:
        scene.node.refusals = [NoLeader(), OutcomeUnknown(), NoLeader()]
        scene.node.lead(3)
        await scene.promoted(3)
        assert len(scene.node.submitted) == 4


async def test_a_failed_start_is_stopped_and_handed_over():
    async with Scene() as scene:
        scene.hook.failing.add("start")
        scene.node.lead(3)
        await scene.until(lambda: scene.node.transfers)
        assert scene.node.application is None
        assert scene.keeper.hooks_told["noting", "failed"] == 1


async def test_in_a_pause_nothing_is_handed_over():
    async with Scene() as scene:
        scene.node.paused = "disks"
        scene.hook.failing.add("start")
        scene.node.lead(3)
        await scene.until(lambda: len(scene.told("start")) == 2)  # here again, after a while
        assert scene.node.transfers == []


async def test_an_unhealthy_application_is_handed_over_after_a_while():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        state = await scene.keeper.report(ApplicationReport(healthy=False))
        assert not state.healthy
        await scene.until(lambda: scene.node.transfers == [None])


async def test_the_end_stops_it_and_waits_until_the_log_says_so():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        await scene.keeper.end()
        assert scene.node.application is None
        assert scene.told("stop")[1:] == [("stop", 3)]
        await asyncio.sleep(0.05)
        assert len(scene.told("start")) == 1


async def test_the_end_waits_for_nothing_that_hangs():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        scene.hook.slow.add("stop")
        async with asyncio.timeout(3):
            await scene.keeper.end()


async def test_set_aside_it_does_not_run_and_afterwards_it_does_again():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        async with scene.keeper.set_aside():
            assert scene.keeper.state().state == "stopped"
            assert scene.node.application is None
        await scene.promoted(3)


async def test_an_application_that_reports_is_promoted_and_stopped_by_its_word():
    async with Scene(reports=True) as scene:
        await scene.keeper.report(ApplicationReport(state="stopped"))
        scene.node.lead(3)
        await scene.until(lambda: scene.keeper.state().state == "starting")
        with pytest.raises(OperationRefused, match="the term is 3"):
            await scene.keeper.report(ApplicationReport(state="promoted", term=2))
        await scene.keeper.report(ApplicationReport(state="promoted", term=3))
        await scene.promoted(3)
        scene.node.follow("raftq-1", 4)
        await scene.until(lambda: scene.keeper.state().state == "stopping")
        await scene.keeper.report(ApplicationReport(state="stopped", term=3))
        await scene.until(lambda: scene.node.application is None)


async def test_an_application_that_says_that_it_has_ended_is_handed_over():
    async with Scene(reports=True) as scene:
        await scene.keeper.report(ApplicationReport(state="stopped"))
        scene.node.lead(3)
        await scene.until(lambda: scene.keeper.state().state == "starting")
        await scene.keeper.report(ApplicationReport(state="stopped", term=3))
        await scene.until(lambda: scene.node.transfers == [None])


async def test_what_comes_back_from_a_transfer_after_the_end_has_begun_starts_nothing():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        async with scene.keeper.set_aside():
            await scene.keeper.end()
        await asyncio.sleep(0.05)
        assert len(scene.told("start")) == 1


async def test_a_process_that_ends_without_further_ado_still_tells_its_hooks():
    scene = Scene()
    async with scene:
        scene.node.lead(3)
        await scene.promoted(3)
    await scene.keeper.abandon()
    assert scene.told("stop")[-1] == ("stop", 3)
    await scene.keeper.abandon()
    assert len(scene.told("stop")) == 2  # one was before the start


async def test_without_reports_the_end_of_the_hook_counts_and_a_report_is_refused():
    async with Scene() as scene:
        with pytest.raises(OperationRefused, match="application_signal"):
            await scene.keeper.report(ApplicationReport(state="stopped"))


async def test_a_keeper_that_begins_anew_stops_what_it_had_started():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        scene._task.cancel()
        await asyncio.gather(scene._task, return_exceptions=True)
        scene._task = asyncio.create_task(scene.keeper.run())
        await scene.until(lambda: ("stop", 3) in scene.log)


async def test_where_the_node_takes_no_part_any_more_the_application_is_stopped_and_the_keeper_lives_on():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        scene.hook.failing.add("ended")
        scene.node.fail()
        await scene.until(lambda: scene.told("stop")[1:])
        scene.hook.failing.clear()
        await scene.until(lambda: scene.keeper.state().state == "stopped")
        await asyncio.sleep(0.15)
        assert not scene._task.done()
        assert scene.keeper.promoted_in() is None


async def test_a_keeper_that_fails_leaves_nothing_promoted_and_tells_the_application_to_stop():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        scene.node.status = None  # whatever it is that nobody foresaw
        with pytest.raises(ExceptionGroup):
            await scene._task
        assert scene.keeper.promoted_in() is None
        assert scene.told("stop")[-1] == ("stop", 3)


async def test_an_end_that_cuts_a_stop_short_tells_the_application_once_more():
    scene = Scene()
    async with scene:
        scene.node.lead(3)
        await scene.promoted(3)
        scene.hook.slow.add("stop")
        scene.node.follow("raftq-1", 4)
        await scene.until(lambda: ("stop", 4) in scene.log)
    scene.hook.slow.clear()
    await scene.keeper.abandon()
    assert [term for _, term in scene.told("stop")] == [0, 4, 3]


async def test_a_transfer_whose_caller_gives_up_gives_the_application_back():
    async with Scene(stop_timeout=600.0) as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        scene.hook.slow.add("ended")

        async def transfer():
            async with scene.keeper.set_aside():
                raise AssertionError("it has not stopped yet")

        caller = asyncio.create_task(transfer())
        await scene.until(lambda: scene.told("ended")[1:])
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        scene.hook.slow.clear()
        scene.node.follow("raftq-1", 4)
        await scene.until(lambda: scene.keeper.state().state == "stopping")
        scene.node.lead(5)
        await scene.until(lambda: scene.keeper.promoted_in() == 5, 12.0)


async def test_of_two_transfers_at_once_the_first_that_ends_does_not_start_it_again():
    async with Scene() as scene:
        scene.node.lead(3)
        await scene.promoted(3)
        async with scene.keeper.set_aside():
            async with scene.keeper.set_aside():
                pass
            await asyncio.sleep(0.05)
            assert len(scene.told("start")) == 1
        await scene.promoted(3)
