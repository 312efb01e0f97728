"""Snapshots, compaction and loading: every kind of volume keeps the same contract."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from volume_contents import MEMBER, VOTED, compacted, entries, log, mark, part, sealed

from raftq_k8s.raft.log import ENTRY_BYTES
from raftq_k8s.raft.messages import Entry, EntryKind
from raftq_k8s.raft.persistence import Compaction, SnapshotPart, TermStart, Write
from raftq_k8s.raft.types import Index, Term
from raftq_k8s.storage import records
from raftq_k8s.storage.memory import MemoryVolume
from raftq_k8s.storage.sqlite import SqliteVolume
from raftq_k8s.storage.volume import Volume, WriteFailed

ALL = 1 << 30


@pytest.fixture(params=["memory", "sqlite"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Volume]:
    """Makes a volume of that kind, or opens the one that was made before, as another process would."""
    if request.param == "sqlite":
        return lambda: SqliteVolume(tmp_path, MEMBER)
    volume = MemoryVolume(MEMBER)
    return lambda: volume


@pytest.fixture
def volume(made: Callable[[], Volume]) -> Iterator[Volume]:
    with closing(made()) as volume:
        volume.open()
        yield volume


def write(volume: Volume, *writes: Write) -> None:
    for each in writes:
        volume.write(each).result(timeout=10)


def load(volume: Volume, first: int, last: int, max_bytes: int = ALL) -> list[Entry]:
    return list(volume.load(Index(first), Index(last), max_bytes).result(timeout=10))


def snapshot(volume: Volume, index: int, offset: int = 0, max_bytes: int = ALL) -> bytes | None:
    return volume.read_snapshot(Index(index), offset, max_bytes).result(timeout=10)


# Snapshots


def test_a_snapshot_is_there_once_it_is_sealed(volume: Volume) -> None:
    write(volume, log(1, 9), part(5, 0, b"abc"), part(5, 3, b"defg"))
    assert snapshot(volume, 5) is None
    write(volume, Write(seal=mark(5, b"abcdefg")))
    assert snapshot(volume, 5) == b"abcdefg"
    assert snapshot(volume, 4) is None


@pytest.mark.parametrize(
    ("offset", "max_bytes", "expected"),
    [(0, 2, b"ab"), (0, 3, b"abc"), (1, 4, b"bcde"), (3, 1, b"d"), (2, ALL, b"cdefg"), (7, 5, b""), (99, 5, b"")],
)
def test_a_snapshot_is_read_in_any_slices(volume: Volume, offset: int, max_bytes: int, expected: bytes) -> None:
    write(volume, part(5, 0, b"abc"), part(5, 3, b"d"), part(5, 4, b"efg"), Write(seal=mark(5, b"abcdefg")))
    assert snapshot(volume, 5, offset, max_bytes) == expected


def test_a_snapshot_survives_and_is_told_at_the_next_start(made: Callable[[], Volume]) -> None:
    with closing(made()) as volume:
        assert volume.open().snapshot is None
        write(volume, log(1, 9), sealed(5, b"state"))
    with closing(made()) as volume:
        assert volume.open().snapshot == mark(5, b"state")
        assert snapshot(volume, 5) == b"state"


def test_a_later_snapshot_takes_the_place_of_the_earlier(volume: Volume) -> None:
    write(volume, log(1, 9), sealed(5, b"state at 5"), part(7, 0, b"state "))
    assert snapshot(volume, 5) == b"state at 5"
    write(volume, Write(part=SnapshotPart(Index(7), 6, b"at 7"), seal=mark(7, b"state at 7")))
    assert (snapshot(volume, 5), snapshot(volume, 7)) == (None, b"state at 7")


def test_one_that_is_begun_drops_the_other_that_was_begun(volume: Volume) -> None:
    write(volume, part(5, 0, b"abc"), part(7, 0, b"de"), part(5, 3, b"lost"), part(7, 2, b"f"))
    write(volume, Write(seal=mark(7, b"def")))
    assert snapshot(volume, 7) == b"def"


def test_parts_that_do_not_follow_are_passed_over(volume: Volume) -> None:
    write(volume, part(5, 4, b"x"), part(5, 0, b"abc"), part(5, 0, b"ABC"), part(5, 2, b"x"), part(5, 4, b"x"))
    write(volume, part(5, 3, b""), part(5, 3, b"D"), part(5, 3, b"x"), Write(seal=mark(5, b"ABCD")))
    assert snapshot(volume, 5) == b"ABCD"


def test_an_empty_snapshot_is_one(volume: Volume) -> None:
    write(volume, sealed(5, b""))
    assert snapshot(volume, 5) == b""


def test_what_was_not_sealed_is_forgotten_at_the_next_start(made: Callable[[], Volume]) -> None:
    with closing(made()) as volume:
        volume.open()
        write(volume, log(1, 9), sealed(3, b"sealed"), part(5, 0, b"abc"))
    with closing(made()) as volume:
        assert volume.open().snapshot == mark(3, b"sealed")
        write(volume, part(5, 3, b"def"), part(5, 0, b"another"), Write(seal=mark(5, b"another")))
        assert snapshot(volume, 5) == b"another"


@pytest.mark.parametrize("wrong", [mark(5, b"abcd"), mark(5, b"abx"), mark(6, b"abc")])
def test_an_incomplete_snapshot_is_never_sealed(made: Callable[[], Volume], wrong: object) -> None:
    with closing(made()) as volume:
        volume.open()
        write(volume, part(5, 0, b"abc"))
        with pytest.raises((ValueError, WriteFailed), match="not complete"):
            write(volume, Write(seal=wrong))  # type: ignore[arg-type]
    with closing(made()) as volume:
        assert volume.open().snapshot is None


def test_a_snapshot_never_takes_the_place_of_a_later_one(made: Callable[[], Volume]) -> None:
    with closing(made()) as volume:
        volume.open()
        write(volume, log(1, 9), sealed(5, b"later"))
        with pytest.raises((ValueError, WriteFailed), match="later one"):
            write(volume, sealed(4, b"earlier"))
    with closing(made()) as volume:
        assert volume.open().snapshot == mark(5, b"later")


# Compaction


def test_a_compacted_log_begins_after_its_base(made: Callable[[], Volume]) -> None:
    with closing(made()) as volume:
        volume.open()
        write(volume, log(1, 4), log(5, 9, term=2), sealed(6, b"s", term=2), compacted(6, term=2))
        assert load(volume, 6, 9) == []
        assert load(volume, 7, 9) == [*entries(7, 9, term=2)]
    with closing(made()) as volume:
        found = volume.open()
        assert (found.base, found.base_term, found.term_starts) == (6, 2, ())
        assert found.entries == [*entries(7, 9, term=2)]


@pytest.mark.parametrize("index", range(1, 10))
def test_a_base_may_stand_anywhere_and_move_on(made: Callable[[], Volume], index: int) -> None:
    runs = (log(1, 4), log(5, 5), log(6, 9, term=2))
    with closing(made()) as volume:
        volume.open()
        write(volume, *runs, sealed(9, b"s", term=2), compacted(index, 1 if index < 6 else 2))
    with closing(made()) as volume:
        kept = [entry for each in runs for entry in each.entries if entry.index > index]
        assert volume.open().entries == kept
        write(volume, log(10, 12, term=3), compacted(9, term=2), log(11, 11, term=4))
        assert load(volume, 10, 99) == [*entries(10, 10, term=3), *entries(11, 11, term=4)]
    with closing(made()) as volume:
        assert volume.open().entries == [*entries(10, 10, term=3), *entries(11, 11, term=4)]


def test_a_log_that_held_another_history_goes_as_a_whole(made: Callable[[], Volume]) -> None:
    installed = Write(
        hard_state=VOTED,
        part=SnapshotPart(Index(7), 0, b"s"),
        seal=mark(7, b"s", term=3),
        compaction=Compaction(Index(7), Term(3), False),
        entries=entries(8, 9, term=3),
    )
    with closing(made()) as volume:
        volume.open()
        write(volume, log(1, 5), log(6, 12, term=2), installed)
    with closing(made()) as volume:
        found = volume.open()
        assert (found.hard_state, found.base, found.base_term) == (VOTED, 7, 3)
        assert found.entries == [*entries(8, 9, term=3)]


def test_a_snapshot_far_ahead_of_the_log_leaves_no_gap(made: Callable[[], Volume]) -> None:
    with closing(made()) as volume:
        volume.open()
        write(volume, log(1, 5), sealed(1000, b"s", term=9), compacted(1000, 9, keep_rest=False), log(1001, 1002, 9))
    with closing(made()) as volume:
        found = volume.open()
        assert (found.base, found.entries) == (1000, [*entries(1001, 1002, term=9)])
        assert load(volume, 1001, 1002) == [*entries(1001, 1002, term=9)]


def test_what_follows_a_base_may_be_overwritten_up_to_it(made: Callable[[], Volume]) -> None:
    with closing(made()) as volume:
        volume.open()
        write(volume, log(1, 9), sealed(5, b"s"), compacted(5), log(6, 7, term=2))
    with closing(made()) as volume:
        assert volume.open().entries == [*entries(6, 7, term=2)]


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(compacted(6), id="past the snapshot"),
        pytest.param(compacted(2), id="back"),
        pytest.param(log(3, 4, term=2), id="entries before the base"),
    ],
)
def test_what_a_snapshot_does_not_cover_stays(made: Callable[[], Volume], wrong: Write) -> None:
    with closing(made()) as volume:
        volume.open()
        write(volume, log(1, 9), sealed(5, b"s"), compacted(3))
        with pytest.raises((ValueError, WriteFailed), match="begins after 3"):
            write(volume, wrong)
    with closing(made()) as volume:
        found = volume.open()
        assert (found.base, found.entries) == (3, [*entries(4, 9)])


# Loading


def test_entries_are_loaded_as_far_as_they_fit(volume: Volume) -> None:
    write(volume, log(1, 3), log(4, 9))
    size = len(entries(1, 1)[0].command) + ENTRY_BYTES
    assert load(volume, 2, 9, max_bytes=3 * size) == [*entries(2, 4)]
    assert load(volume, 2, 3, max_bytes=3 * size) == [*entries(2, 3)]
    assert load(volume, 2, 9, max_bytes=1) == [*entries(2, 2)]
    assert load(volume, 9, 99) == [*entries(9, 9)]
    assert load(volume, 10, 99) == []


def test_what_is_read_sees_what_was_written_before(volume: Volume) -> None:
    for index in range(1, 40):
        volume.write(log(index, index))
        assert volume.load(Index(index), Index(index), 1).result(timeout=10) == entries(index, index)


def test_a_closed_volume_is_not_read(made: Callable[[], Volume]) -> None:
    volume = made()
    with pytest.raises(WriteFailed, match="not open"):
        load(volume, 1, 1)
    with pytest.raises(WriteFailed, match="not open"):
        snapshot(volume, 1)


# What comes along at a start


def configuration(index: int, term: int) -> Entry:
    return Entry(Index(index), Term(term), EntryKind.CONFIGURATION, b"names")


@pytest.fixture(params=["memory", "sqlite"])
def short(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Volume]:
    """The same, but only a few entries come along at a start."""
    monkeypatch.setattr(records, "TAIL_BYTES", 100)
    if request.param == "sqlite":
        return lambda: SqliteVolume(tmp_path, MEMBER)
    volume = MemoryVolume(MEMBER, tail_bytes=100)
    return lambda: volume


def test_of_a_long_log_only_the_tail_comes_along(short: Callable[[], Volume]) -> None:
    """The rest is told in short, and can be loaded."""
    with closing(short()) as volume:
        volume.open()
        write(volume, *(log(at, at + 1, term=1 + at // 10) for at in range(1, 41, 2)))
        write(volume, Write(entries=(configuration(41, 5), configuration(42, 6))))
        write(volume, *(log(at, at, term=6) for at in range(43, 100)))
    with closing(short()) as volume:
        found = volume.open()
        first = found.entries[0].index
        assert 90 < first < 100
        assert found.entries == [*entries(first, 99, term=6)]
        assert found.term_starts == tuple(
            TermStart(Index(index), Term(term)) for index, term in [(1, 1), (11, 2), (21, 3), (31, 4), (41, 5), (42, 6)]
        )
        assert found.configurations == (configuration(41, 5), configuration(42, 6))
        assert load(volume, 8, first)[:6] == [*entries(8, 10, term=1), *entries(11, 13, term=2)]


@pytest.mark.parametrize("base", range(20, 43))
def test_what_is_told_of_the_rest_begins_after_the_base(short: Callable[[], Volume], base: int) -> None:
    terms = {index: 1 + index // 10 for index in range(1, 60)}
    with closing(short()) as volume:
        volume.open()
        write(volume, *(log(at, at + 2, term=terms[at]) for at in range(1, 31, 3)))
        write(volume, Write(entries=(configuration(31, 4),)), *(log(at, at, terms[at]) for at in range(32, 60)))
        held = {entry.index: entry.term for entry in load(volume, 1, 59)}
        write(volume, sealed(base, b"s", held[Index(base)]), compacted(base, held[Index(base)]))
    with closing(short()) as volume:
        found = volume.open()
        told = {
            index: start.term for start in found.term_starts for index in range(start.index, found.entries[0].index)
        }
        assert told == {index: held[Index(index)] for index in range(base + 1, found.entries[0].index)}
        assert [start.index for start in found.term_starts][:1] == [base + 1]
        assert found.configurations == ((configuration(31, 4),) if base < 31 else ())


def test_nothing_is_told_of_entries_before_the_base(short: Callable[[], Volume]) -> None:
    with closing(short()) as volume:
        volume.open()
        write(volume, log(1, 20), sealed(20, b"s"), compacted(20), log(21, 21), log(22, 22))
    with closing(short()) as volume:
        found = volume.open()
        assert (found.base, found.entries, found.term_starts) == (20, [*entries(21, 22)], ())
