"""Each way of telling an application, against the real thing."""

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiohttp import web

from raftq_k8s.agent.application.exec_hook import ExecHook
from raftq_k8s.agent.application.file_hook import FileHook
from raftq_k8s.agent.application.hooks import HookFailed, Notice
from raftq_k8s.agent.application.lease import Lease
from raftq_k8s.agent.application.reports import Reports
from raftq_k8s.agent.application.webhook import Webhook
from raftq_k8s.node.runtime import boottime

NOTICE = Notice("leader", 7, "raftq-0", "raftq-0", "raftq-0:7480")
AWAY = Notice("follower", 8, "raftq-0", None, None)


def lease(for_ms):
    return Lease(7, boottime() + for_ms / 2, boottime() + for_ms)


# ------------------------------------------------------------------------------------------------------------- exec


async def test_a_command_gets_role_term_and_leader_in_its_environment(tmp_path):
    told = tmp_path / "told"
    hook = ExecHook(["sh", "-c", f'echo "$RAFTQ_ROLE $RAFTQ_TERM $RAFTQ_MEMBER $RAFTQ_LEADER" >> {told}'])
    await hook.start(NOTICE, lease(1000))
    await hook.stop(AWAY)
    await hook.ended()
    assert told.read_text().splitlines() == ["leader 7 raftq-0 raftq-0", "follower 8 raftq-0 "]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["sh", "-c", "exit 3"], "exit code 3"),
        (["sh", "-c", "kill -9 $$"], "signal 9"),
        (["/nowhere"], "cannot be run"),
    ],
)
async def test_a_command_that_fails_says_why(command, why):
    with pytest.raises(HookFailed, match=why):
        await ExecHook(command).stop(AWAY)


async def test_a_command_that_takes_too_long_is_killed_with_all_of_its_group(tmp_path):
    pids = tmp_path / "pids"
    hook = ExecHook(["sh", "-c", f"sleep 60 & echo $! >> {pids}; echo $$ >> {pids}; wait"])
    task = asyncio.create_task(hook.start(NOTICE, lease(1000)))
    await until(lambda: pids.exists() and len(pids.read_text().split()) == 2)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    child, command = pids.read_text().split()
    assert not alive(command)  # another one may be run at once
    await until(lambda: not alive(child))


async def until(condition, within_s=5.0):
    async with asyncio.timeout(within_s):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# ---------------------------------------------------------------------------------------------------------- webhook


@pytest.fixture
async def site():
    """Where a webhook is posted to: `told` is what came, `answer` what is said to it."""

    class Site:
        def __init__(self):
            self.told = []
            self.answer = 204

        async def hear(self, request):
            self.told.append((request.content_type, await request.json()))
            return web.Response(status=self.answer, headers={"Location": "/elsewhere"})

    made = Site()
    runner = web.ServerRunner(web.Server(made.hear))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/role"
    yield made
    await runner.cleanup()


async def test_a_webhook_posts_the_notice_as_json(site):
    await Webhook(site.url).start(NOTICE, lease(1000))
    told = {"role": "leader", "term": 7, "member": "raftq-0", "leader": "raftq-0", "leader_address": "raftq-0:7480"}
    assert site.told == [("application/json", told)]


@pytest.mark.parametrize("answer", [500, 404, 302])
async def test_only_an_answer_of_the_200s_is_a_yes(site, answer):
    site.answer = answer
    with pytest.raises(HookFailed, match=f"answered {answer} as follower"):
        await Webhook(site.url).stop(AWAY)


async def test_a_webhook_that_nobody_hears_failed():
    with pytest.raises(HookFailed, match="cannot be reached"):
        await Webhook("http://127.0.0.1:1/").stop(AWAY)


# ------------------------------------------------------------------------------------------------------------- file


async def test_the_file_says_who_leads_and_until_when(tmp_path):
    path = tmp_path / "leader.json"
    hook = FileHook(path, 1000.0)
    await hook.start(NOTICE, lease(500))
    said = json.loads(path.read_text())
    assert (said["role"], said["term"], said["leader"]) == ("leader", 7, "raftq-0")
    assert said["valid_until"] == pytest.approx(time.time() + 0.5, abs=0.2)
    await hook.stop(AWAY)
    said = json.loads(path.read_text())
    assert (said["role"], said["term"], said["leader"], said["valid_until"]) == ("follower", 8, None, None)
    assert [each.name for each in tmp_path.iterdir()] == ["leader.json"]


async def test_by_the_file_the_application_has_ended_when_all_that_it_promised_has_passed(tmp_path):
    hook = FileHook(tmp_path / "leader.json", 1000.0)
    await hook.start(NOTICE, lease(100))
    await hook.renew(NOTICE, promised := lease(300))
    await hook.stop(AWAY)
    await hook.ended()
    assert boottime() >= promised.kill_at


async def test_what_a_former_life_promised_holds_and_no_longer_than_it_could_have(tmp_path):
    path = tmp_path / "leader.json"
    await FileHook(path, 1000.0).start(NOTICE, promised := lease(200))
    await FileHook(path, 1000.0).ended()
    assert boottime() >= promised.kill_at
    await FileHook(path, 1000.0).start(NOTICE, lease(1e9))  # of a clock before the machine was started
    async with asyncio.timeout(1):
        await FileHook(path, 100.0).ended()


async def test_a_file_that_cannot_be_written_is_a_failure(tmp_path):
    hook = FileHook(tmp_path / "leader.json", 1000.0)
    (tmp_path / "leader.json").mkdir()
    with pytest.raises(HookFailed, match="cannot be written"):
        await hook.start(NOTICE, lease(500))


# ---------------------------------------------------------------------------------------------------------- reports


async def test_an_application_that_reports_is_promoted_by_its_report_of_that_term():
    reports = Reports(1000.0)
    starting = asyncio.create_task(reports.start(NOTICE, lease(1000)))
    await asyncio.sleep(0)
    reports.promoted(6)
    await asyncio.sleep(0)
    assert not starting.done()
    reports.promoted(7)
    await starting


async def test_an_application_that_reports_has_ended_by_its_report_or_by_its_lease():
    reports = Reports(1000.0)
    reports.stopped()
    await asyncio.wait_for(reports.ended(), 0.5)  # of a former life
    starting = asyncio.create_task(reports.start(NOTICE, promised := lease(200)))
    await asyncio.sleep(0)
    starting.cancel()
    await reports.ended()
    assert boottime() >= promised.kill_at
