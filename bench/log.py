"""The log of one node, with 1,000 and with 1,000,000 entries in memory: nothing may take longer because it is long.

The aims: to look up a term, append an entry and truncate take as long in both, or a few bisections longer; and no
single step of a compaction, or of letting go of memory, takes more than 5 ms. What is measured is time on a processor:
the machine may be busy with other things.
"""

import gc
import time
from collections.abc import Callable

import msgspec

from raftq_k8s.raft.log import Log
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import Receipt
from raftq_k8s.raft.types import Index, Term

LENGTHS = (1_000, 1_000_000)
_TERMS = 1_000
_COMMAND = b"c" * 64
_TIMES = 20_000
_APPLIED_AT_ONCE = 64
_KEPT_BYTES = 1 << 22


class LogCost(msgspec.Struct):
    entries: int
    term_us: float
    append_us: float
    truncate_us: float
    longest_compaction_ms: float
    """Of nine tenths of the log, a tenth at a time."""
    longest_trim_ms: float
    """With every few entries that are applied, until only the tail is in memory."""


def measure() -> list[LogCost]:
    return [_measure(length) for length in LENGTHS]


def _measure(length: int) -> LogCost:
    log = Log([_entry(index, 1 + index * _TERMS // length) for index in range(1, length + 1)])
    gc.collect()
    gc.freeze()  # as the agent does after its start
    try:
        return LogCost(
            entries=length,
            term_us=_each_us(lambda turn: log.term_at(Index(turn * 7919 % length + 1))),
            append_us=_each_us(lambda turn: _append(log, turn)),
            truncate_us=_each_us(lambda _: log.overwrite((_entry(log.last_index, _TERMS + 2),))),
            longest_compaction_ms=_longest_ms(log.compact, range(0, length, length // 10)),
            longest_trim_ms=_longest_ms(lambda upto: log.trim(upto, _KEPT_BYTES), range(0, length, _APPLIED_AT_ONCE)),
        )
    finally:
        gc.unfreeze()


def _entry(index: int, term: int) -> Entry:
    return Entry(Index(index), Term(term), EntryKind.COMMAND, _COMMAND)


def _append(log: Log, turn: int) -> None:
    """And hand it over, and hear that it is synced."""
    log.append((_entry(log.last_index + 1, _TERMS + 2),))
    log.hand_over(Receipt(turn + 1))
    log.persisted(Receipt(turn + 1))


def _each_us(act: Callable[[int], object]) -> float:
    began = time.thread_time()
    for turn in range(_TIMES):
        act(turn)
    return round((time.thread_time() - began) / _TIMES * 1e6, 2)


def _longest_ms(step: Callable[[Index], None], indices: range) -> float:
    longest = 0.0
    for index in indices:
        began = time.thread_time()
        step(Index(index))
        longest = max(longest, time.thread_time() - began)
    return round(longest * 1e3, 3)
