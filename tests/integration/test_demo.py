"""The demo, run as a person or a script runs it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

DEMO = [sys.executable, "-m", "raftq_k8s.cli.main", "demo"]


async def start(folder, *arguments):
    environment = {**os.environ, "TMPDIR": str(folder)}
    return await asyncio.create_subprocess_exec(
        *(*DEMO, *arguments), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


async def test_an_unattended_demo_loses_nothing_and_leaves_nothing(tmp_path):
    demo = await start(tmp_path, "--kills", "2", "--json")
    said, complained = await demo.communicate()
    assert demo.returncode == 0, complained.decode()
    report = json.loads(said)
    assert (report["nodes"], report["kills"], report["lost"], report["duplicates"]) == (3, 2, 0, 0)
    assert len(report["failover_seconds"]) == 2
    assert report["acknowledged"] > 0
    assert list(tmp_path.iterdir()) == []


async def test_an_interrupted_demo_ends_its_agents_and_leaves_nothing(tmp_path):
    demo = await start(tmp_path, "--kills", "100")
    while b"leads" not in await demo.stdout.readline():
        assert demo.returncode is None
    agents = children(demo.pid)
    assert len(agents) == 3
    demo.send_signal(signal.SIGINT)
    async with asyncio.timeout(15):
        _, complained = await demo.communicate()
    assert demo.returncode == 130
    assert complained.decode() == "raftq demo: interrupted; all agents are stopped\n"
    assert not any(map(exists, agents))
    assert list(tmp_path.iterdir()) == []


def children(pid):
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def exists(pid):
    return Path(f"/proc/{pid}").exists()
