"""What the kernel says of an agent's process."""

import os
from pathlib import Path

from raftq_k8s.cli.local_cluster import LocalAgent


def cpu_s(agent: LocalAgent) -> float:
    """Seconds of a core that it took since its start."""
    assert agent.process is not None
    fields = Path(f"/proc/{agent.process.pid}/stat").read_text().rpartition(")")[2].split()
    user, system = int(fields[11]), int(fields[12])
    return (user + system) / os.sysconf("SC_CLK_TCK")


def mib(agent: LocalAgent, what: str) -> float:
    """`what` is `Rss` or `Pss`."""
    assert agent.process is not None
    for line in Path(f"/proc/{agent.process.pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise LookupError(what)


def most_mib(agent: LocalAgent) -> float:
    """The largest resident memory that it ever had."""
    assert agent.process is not None
    for line in Path(f"/proc/{agent.process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    raise LookupError("VmHWM")
