"""A cluster of agents in a temporary folder on a real disk, for as long as one measurement lasts."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from raftq_k8s.cli.local_cluster import LocalCluster


@asynccontextmanager
async def three_agents(profile: str = "fast") -> AsyncIterator[LocalCluster]:
    """All of them ready, one of them leading."""
    with tempfile.TemporaryDirectory(prefix="raftq-bench-") as folder:
        async with LocalCluster(Path(folder), arguments=("--profile", profile, "--log-level", "warning")) as cluster:
            await cluster.leader()
            await cluster.all_ready()
            yield cluster
