"""Faults of the test cluster: what a KUBECONFIG alone cannot do.

They need the cluster's own program, beside this repository or named by RAFTQ_CLUSTER. On any other cluster the tests
that ask for them are skipped.
"""

import importlib.machinery
import importlib.util
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from cluster_access import REPOSITORY, CommandFailed, run


class Faults:
    def __init__(self, program: Path) -> None:
        self._program = program
        self._module = _imported(program)

    def kill(self, namespace: str, pods: Iterable[str]) -> None:
        """SIGKILL to the processes of these pods, all at once; the kubelet starts them again in the same pods.

        Not by the command line, whose own start would blur the moment that failovers are measured from.
        """
        kills = [threading.Thread(target=self._module.fault_pod, args=(f"{namespace}/{pod}", "kill")) for pod in pods]
        for kill in kills:
            kill.start()
        for kill in kills:
            kill.join()

    @contextmanager
    def api_server(self, action: str, opposite: str) -> Iterator[None]:
        """`stop` and `start`, or `freeze` and `thaw`."""
        run(self._program, "fault", "apiserver", action)
        try:
            yield
        finally:
            run(self._program, "fault", "apiserver", opposite)


def _imported(program: Path) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("raftq_test_cluster", str(program))
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        loader.exec_module(module)
    finally:
        sys.dont_write_bytecode = before
    return module


def find() -> Faults | str:
    """The faults of the cluster that KUBECONFIG means, or why there are none."""
    program = Path(os.environ.get("RAFTQ_CLUSTER") or REPOSITORY.parent / "shared" / "cluster" / "cluster")
    if not os.access(program, os.X_OK):
        return f"no faults can be caused here: there is no {program.name} program (RAFTQ_CLUSTER names one)"
    try:
        told = run(program, "env")
    except CommandFailed as error:
        return f"no faults can be caused here: {error}"
    config = re.search(r"KUBECONFIG=(\S+)", told)
    if config is None or Path(config[1]).resolve() != Path(os.environ["KUBECONFIG"]).resolve():
        return "no faults can be caused here: KUBECONFIG means another cluster than the one whose faults are at hand"
    return Faults(program)
