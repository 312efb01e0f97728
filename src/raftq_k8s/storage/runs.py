"""The log on disk, cut into runs as it was written: one row, one run, so that a batch is one small statement however
many entries it brings.

A run has a summary beside it: where it ends, where terms begin in it, and the configurations that it holds. So a start
reads every run, to hold it against its checksum, but decodes only the tail of the log, and its memory is bounded.

Compaction moves the base and leaves the rows for later: those that the base has passed as a whole are litter, below the
*cut*. The run in which the base stands is kept whole. The chain of checksums begins at the cut, with the checksum that
ended there.
"""

import sqlite3
import struct
from collections import deque
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import Compaction, TermStart
from raftq_k8s.raft.types import NO_INDEX, NO_TERM, Incarnation, Index, Term
from raftq_k8s.storage import checksum, litter
from raftq_k8s.storage.checksum import Batch, Checksum
from raftq_k8s.storage.contents import check_follows, fitting, term_starts
from raftq_k8s.storage.schema import Damaged, Statement

_encode = msgspec.msgpack.Encoder().encode
_decode_run = msgspec.msgpack.Decoder(list[Entry]).decode


class Start(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A log begins after `base`. The first row of it begins after `cut`, which is not above that, and its checksum
    continues `chain`."""

    base: Index
    base_term: Term
    cut: Index
    chain: Checksum


class Summary(msgspec.Struct, frozen=True, array_like=True, gc=False):
    last: Index
    term_starts: tuple[TermStart, ...]
    configurations: tuple[Entry, ...]


_decode_summary = msgspec.msgpack.Decoder(Summary).decode


class Found(msgspec.Struct):
    """The tail of a log, and what the summaries say of the part before it."""

    tail: list[Entry]
    term_starts: tuple[TermStart, ...]
    configurations: tuple[Entry, ...]
    batch: Batch
    """Of the last run."""


def blank_start(incarnation: Incarnation) -> Start:
    return Start(NO_INDEX, NO_TERM, NO_INDEX, checksum.origin(incarnation))


class Runs:
    """Makes the statements of a transaction, and is ahead of the disk until that has ended."""

    def __init__(self, connection: sqlite3.Connection, start: Start) -> None:
        """`read` must follow before anything else."""
        self._connection = connection
        self.start = start
        self.last_index = start.cut
        self.checksum = start.chain
        """Of the run that ends there."""
        self.has_litter = True
        self._read_last: list[Entry] = []
        """The run that was loaded last: whoever loads goes on where it stopped."""

    # Reading, with suspicion

    def read(self, tail_bytes: int) -> Found:
        """Hold every run against its checksum. Raises `Damaged`."""
        base = self.start.base
        batch = Batch(0)
        tail: deque[tuple[Summary, bytes]] = deque()
        size_bytes = 0
        starts: list[TermStart] = []
        configurations: list[Entry] = []
        for first, encoded, run, batch, found in self._connection.execute(
            "SELECT first, summary, run, batch, checksum FROM entries WHERE first > ? ORDER BY first",
            (self.start.cut,),
        ):
            summary = self._verified(first, encoded, run, batch, found)
            tail.append((summary, run))
            size_bytes += len(run)
            while size_bytes > tail_bytes and len(tail) > 1:
                passed, dropped = tail.popleft()
                size_bytes -= len(dropped)
                starts += [start for start in passed.term_starts if not starts or start.term != starts[-1].term]
                configurations += passed.configurations
        if self.last_index < base:
            raise _damaged_after(self.last_index)
        entries = [entry for entry in self._decoded(tail) if entry.index > base]
        if self.last_index - len(entries) == base:
            starts = []  # what was dropped stands before the base
        return Found(
            entries,
            _after(base, starts),
            tuple(entry for entry in configurations if entry.index > base),
            batch,
        )

    def _verified(self, first: Index, encoded: bytes, run: bytes, batch: Batch, found: Checksum) -> Summary:
        """The summary of the next run."""
        try:
            expected = checksum.of_run(first, batch, encoded, run, self.checksum)
            summary = _decode_summary(encoded)
        except (TypeError, struct.error, msgspec.MsgspecError):
            raise _damaged_after(self.last_index) from None
        if found != expected:
            raise _damaged_after(self.last_index)
        self.last_index, self.checksum = summary.last, expected
        return summary

    def _decoded(self, runs: "deque[tuple[Summary, bytes]]") -> Iterator[Entry]:
        for _, run in runs:
            try:
                yield from _decode_run(run)
            except msgspec.MsgspecError:
                raise _damaged_after(self.start.base) from None

    def load(self, first: Index, last: Index, max_bytes: int) -> tuple[Entry, ...]:
        """Raises `Damaged`."""
        if not self.start.base < first <= self.last_index:
            return ()
        return fitting(self._from(first, last), max_bytes)

    def _from(self, first: Index, last: Index) -> Iterator[Entry]:
        if self._read_last and self._read_last[0].index <= first <= self._read_last[-1].index:
            yield from self._read_last[first - self._read_last[0].index : last + 1 - self._read_last[0].index]
            first = Index(self._read_last[-1].index + 1)
        if first <= min(last, self.last_index):
            yield from self._from_disk(first, last)

    def _from_disk(self, first: Index, last: Index) -> Iterator[Entry]:
        previous: Checksum | None = None
        for begin, summary, run, batch, found in self._connection.execute(
            "SELECT first, summary, run, batch, checksum FROM entries WHERE first >= ? AND first <= ? ORDER BY first",
            (self._run_with(first)[0], last),
        ):
            if previous is None:
                previous = self._checksum_before(begin)
            previous = checksum.of_run(begin, batch, summary, run, previous)
            if found != previous:
                raise _damaged_after(Index(begin - 1))
            self._read_last = entries = _decode_run(run)
            yield from entries[max(0, first - begin) : last + 1 - begin]

    # Writing

    def append(self, logs: Sequence[Sequence[Entry]], batch: Batch) -> list[Statement]:
        """One run for all of them at the end of the log, after what stands in its way was removed."""
        run = _joined(self.start.base, self.last_index, logs)
        statements: list[Statement] = []
        previous = self.checksum
        if run[0].index <= self.last_index:
            first, encoded = self._run_with(run[0].index)
            previous = self._checksum_before(first)
            run = _decode_run(encoded)[: run[0].index - first] + run
            statements.append(("DELETE FROM entries WHERE first >= ?", (first,)))
            self._read_last = []
        first, encoded, summary = run[0].index, _encode(run), _encode(_summary_of(run))
        self.last_index = run[-1].index
        self.checksum = checksum.of_run(first, batch, summary, encoded, previous)
        insert = "INSERT INTO entries VALUES (?, ?, ?, ?, ?)"
        statements.append((insert, (first, summary, encoded, batch, self.checksum)))
        return statements

    def compact(self, compaction: Compaction) -> list[Statement]:
        """The caller writes the new `start`."""
        index = compaction.index
        self.has_litter = True
        if compaction.keep_rest and self.start.cut < self.last_index and index <= self.last_index:
            first, _ = self._run_with(min(Index(index + 1), self.last_index))
            chain = self._checksum_before(first)
            self.start = Start(index, compaction.term, Index(first - 1), chain)
            return []
        chain = checksum.of_base(index, compaction.term, self.checksum)
        self.start = Start(index, compaction.term, index, chain)
        self.last_index, self.checksum = index, chain
        self._read_last = []
        return [("DELETE FROM entries WHERE first > ?", (index,))]

    def sweep(self, slices: int) -> Statement | None:
        """Deletes so much litter; `None` when there is none."""
        if not self.has_litter:
            return None
        last = litter.end_of(
            slices,
            self._connection.execute(
                "SELECT first, length(run) FROM entries WHERE first <= ? ORDER BY first LIMIT ?",
                (self.start.cut, slices * litter.SLICE_ROWS),
            ),
        )
        self.has_litter = last is not None
        return ("DELETE FROM entries WHERE first <= ?", (last,)) if last is not None else None

    # Looking up

    def _run_with(self, index: Index) -> tuple[Index, bytes]:
        row: tuple[Index, bytes] = self._connection.execute(
            "SELECT first, run FROM entries WHERE first <= ? ORDER BY first DESC LIMIT 1", (index,)
        ).fetchone()
        return row

    def _checksum_before(self, first: Index) -> Checksum:
        """Of the run that ends where that one begins."""
        if first == self.start.cut + 1:
            return self.start.chain
        row: tuple[Checksum] = self._connection.execute(
            "SELECT checksum FROM entries WHERE first < ? ORDER BY first DESC LIMIT 1", (first,)
        ).fetchone()
        return row[0]


def _summary_of(run: Sequence[Entry]) -> Summary:
    configurations = tuple(entry for entry in run if entry.kind == EntryKind.CONFIGURATION)
    return Summary(run[-1].index, term_starts(run), configurations)


def _after(base: Index, starts: list[TermStart]) -> tuple[TermStart, ...]:
    """The same, of a log that begins later."""
    passed = [start for start in starts if start.index <= base + 1]
    kept = [start for start in starts if start.index > base + 1]
    return tuple([replace(start, index=Index(base + 1)) for start in passed[-1:]] + kept)


def _joined(base: Index, last: Index, logs: Sequence[Sequence[Entry]]) -> list[Entry]:
    """What several writes to a log that ends at `last` add up to: later ones remove what stands in their way."""
    run: list[Entry] = []
    for entries in logs:
        first = entries[0].index
        check_follows(entries, base, last)
        kept = run[: first - run[0].index] if run and first > run[0].index else []
        run = [*kept, *entries]
        last = entries[-1].index
    return run


def _damaged_after(index: Index) -> Damaged:
    return Damaged(f"its log after index {index}")
