"""One PySyncObj process: `python -m raftq_k8s.cli.bench.pysyncobj_member JOURNAL SELF OTHER…`, asked over its stdin.

`leads?` is answered `yes` or `no`; `puts CLIENTS SECONDS` by what came of a load, made by callers in this process.
"""

import sys
import threading
import time
from functools import partial

import msgspec
from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated  # type: ignore[import-untyped]

from raftq_k8s.cli.bench.load import Load

_KEYS = 1000
_VALUE = "v" * 256


class _Table(SyncObj):  # type: ignore[misc]
    def __init__(self, journal: str, this: str, others: list[str]) -> None:
        self._values: dict[str, str] = {}
        super().__init__(this, others, SyncObjConf(journalFile=journal, dynamicMembershipChange=False))

    @replicated  # type: ignore[untyped-decorator]
    def put(self, key: str, value: str) -> None:
        self._values[key] = value


class _Callers:
    """Each puts the next as soon as it hears of the last; they hear on PySyncObj's own thread."""

    def __init__(self, table: _Table, clients: int, seconds: float) -> None:
        self._table = table
        self._until = time.perf_counter() + seconds
        self._calls = 0
        self._clients = clients
        self._resting = threading.Semaphore(0)
        self.took_s: list[float] = []
        self.failed = 0

    def run(self) -> None:
        for _ in range(self._clients):
            self._next()
        for _ in range(self._clients):
            self._resting.acquire(timeout=20.0)

    def _next(self) -> None:
        now = time.perf_counter()
        if now >= self._until:
            self._resting.release()
            return
        self._calls += 1
        self._table.put(f"raftq-bench-{self._calls % _KEYS:04d}", _VALUE, callback=partial(self._heard, now))

    def _heard(self, sent_at: float, result: object, error: int) -> None:
        del result
        self.took_s.append(time.perf_counter() - sent_at)
        self.failed += error != FAIL_REASON.SUCCESS
        self._next()


def _load(table: _Table, clients: int, seconds: float) -> Load:
    callers = _Callers(table, clients, seconds)
    callers.run()
    took = sorted(callers.took_s)
    p50, p99 = (round(took[int(share * (len(took) - 1))] * 1000, 2) for share in (0.5, 0.99))
    return Load("in its process", round(len(took) / seconds), p50, p99, callers.failed)


def main(journal: str, this: str, others: list[str]) -> None:
    table = _Table(journal, this, others)
    for line in sys.stdin:
        match line.split():
            case ["leads?"]:
                print("yes" if table.isReady() and table._isLeader() else "no", flush=True)
            case ["puts", clients, seconds]:
                print(msgspec.json.encode(_load(table, int(clients), float(seconds))).decode(), flush=True)
            case _:
                raise ValueError(f"no question: {line}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
