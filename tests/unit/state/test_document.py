"""The document against a model of plain dicts, and what it says at its bounds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq_k8s.raft.types import Index
from raftq_k8s.state.commands import (
    Applied,
    Condition,
    Delete,
    DocumentCommand,
    NotAnObject,
    NotAsExpected,
    Operation,
    Patch,
    Put,
    PutIf,
    Replace,
    TooBig,
    TooMuchToMerge,
    Transacted,
    Transaction,
)
from raftq_k8s.state.document import Document, DocumentIsNotAnObject, UnreadableCommand
from raftq_k8s.state.draft import MERGED_BYTES

ROOM = 1 << 20

keys = st.sampled_from(["a", "b", "", 'quo"te', "sla\\sh", "tab\t", "é", "😀", "\x00"]) | st.text(
    st.characters(codec="utf-8"), max_size=5
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def text(value: object) -> bytes:
    return json.dumps(value).encode()


patches = st.recursive(values, lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=6)
operations: st.SearchStrategy[Operation] = (
    st.builds(lambda key, value: Put(key, text(value)), keys, values)
    | st.builds(Delete, keys)
    | st.builds(lambda patch: Patch(text(patch)), st.dictionaries(keys, patches, max_size=3) | values)
    | st.builds(lambda value: Replace(text(value)), values | st.dictionaries(keys, values, max_size=4))
)
conditions = st.builds(Condition, st.none() | keys, st.none() | st.lists(st.integers(0, 9), max_size=4).map(tuple))
commands = st.lists(
    operations
    | st.builds(lambda key, value, expected: PutIf(key, text(value), expected), keys, values, st.integers(0, 9))
    | st.builds(Transaction, st.lists(conditions, max_size=2).map(tuple), st.lists(operations, max_size=4).map(tuple)),
    max_size=30,
)


def applied(document: Document, *sequence: DocumentCommand) -> list[object]:
    results: list[object] = []
    for command in sequence:
        document.applied_index = Index(document.applied_index + 1)
        results.append(document.apply(document.applied_index, command))
    return results


class NoObject(Exception):
    pass


def merge_patch(target: object, patch: object) -> object:
    """The pseudocode of RFC 7396, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merge_patch(result.get(name), value)
    return result


def carry_out(model: object, operation: DocumentCommand) -> tuple[object, bool]:
    """What it becomes, and whether what was addressed was there."""
    match operation:
        case Replace(body):
            return json.loads(body), True
        case Patch(body):
            return merge_patch(model, json.loads(body)), True
    if not isinstance(model, dict):
        raise NoObject
    model = dict(model)
    match operation:
        case Put(key, value) | PutIf(key, value):
            existed = key in model
            model[key] = json.loads(value)
        case Delete(key):
            existed = key in model
            model.pop(key, None)
    return model, existed


@given(commands)
def test_the_document_is_what_a_dict_would_be(sequence: list[DocumentCommand]) -> None:
    document = Document(ROOM)
    model: object = {}
    for index, command in enumerate(sequence, start=1):
        found = {key: document.get(key) for key in model} if isinstance(model, dict) else {}
        revisions = {key: held[1] for key, held in found.items() if held is not None}
        changed = document.whole()[1]
        [result] = applied(document, command)
        try:
            match command:
                case Transaction(conditions, operations):
                    assert result == transacted(index, model, revisions, changed, conditions, operations)
                    if isinstance(result, Transacted):
                        for operation in operations:
                            model, _ = carry_out(model, operation)
                case PutIf(key, _, expected) if isinstance(model, dict) and expected != revisions.get(key, 0):
                    assert result == NotAsExpected(index, revisions.get(key, 0))
                case _:
                    model, existed = carry_out(model, command)
                    assert result == Applied(index, existed)
        except NoObject:
            assert result == NotAnObject(index)
        whole, _ = document.whole()
        assert json.loads(whole) == model
        assert document.size_bytes == len(whole)
        if isinstance(model, dict):
            assert list(json.loads(whole)) == list(model)


def transacted(
    index: int,
    model: object,
    revisions: dict[str, int],
    changed: int,
    conditions: tuple[Condition, ...],
    operations: tuple[Operation, ...],
) -> object:
    for number, condition in enumerate(conditions):
        if condition.key is not None and not isinstance(model, dict):
            raise NoObject
        found = changed if condition.key is None else revisions.get(condition.key, 0)
        exists = condition.key is None or condition.key in revisions
        if not (exists if condition.revisions is None else found in condition.revisions):
            return NotAsExpected(index, found, number)
    all_existed = []
    for operation in operations:
        model, existed = carry_out(model, operation)
        all_existed.append(existed)
    return Transacted(index, tuple(all_existed))


@given(commands)
def test_a_revision_is_that_of_the_last_change(sequence: list[DocumentCommand]) -> None:
    document = Document(ROOM)
    before: object = {}
    for index, command in enumerate(sequence, start=1):
        held = {key: document.get(key) for key in before} if isinstance(before, dict) else {}
        changed = document.whole()[1]
        applied(document, command)
        whole, revision = document.whole()
        after = json.loads(whole)
        assert revision in (index, changed)
        assert revision == index or after == before
        if isinstance(after, dict):
            for key, value in after.items():
                now = document.get(key)
                assert now is not None
                assert json.loads(now[0]) == value
                assert now[1] == index or now == held[key]
        before = after


@given(commands)
def test_whoever_follows_the_journal_has_the_document(sequence: list[DocumentCommand]) -> None:
    document = Document(ROOM)
    copy: object = {}
    seen = 0
    for command in sequence:
        applied(document, command)
        for change in document.journal.since(seen):
            if change.key is None:
                assert change.value is not None
                copy = json.loads(change.value)
                continue
            assert isinstance(copy, dict)
            if change.value is None:
                del copy[change.key]
            else:
                copy[change.key] = json.loads(change.value)
        whole, seen = document.whole()
        assert copy == json.loads(whole)
        assert document.journal.since(seen) == ()


@given(commands)
def test_a_replay_gives_the_same_bytes_and_the_same_answers(sequence: list[DocumentCommand]) -> None:
    first, second = Document(200), Document(200)
    assert applied(first, *sequence) == applied(second, *sequence)
    assert first.whole() == second.whole()


@given(commands, st.integers(2, 120))
def test_the_whole_never_passes_its_bound(sequence: list[DocumentCommand], limit: int) -> None:
    document = Document(limit)
    for command in sequence:
        before = document.whole()
        [result] = applied(document, command)
        assert len(document.whole()[0]) <= limit
        if isinstance(result, TooBig):
            assert document.whole() == before


def test_a_document_that_fits_to_the_byte_is_taken_and_one_more_is_not() -> None:
    document = Document(len(b'{"a":12,"b":3}'))
    assert applied(document, Put("a", b"12"), Put("b", b"3")) == [Applied(1, False), Applied(2, False)]
    assert applied(document, Put("b", b"34"), Put("c", b"5")) == [TooBig(3, 14), TooBig(4, 14)]
    assert document.whole() == (b'{"a":12,"b":3}', 2)
    assert applied(document, Delete("a"), Put("b", b'"seven"')) == [Applied(5, True), Applied(6, True)]


def test_a_number_comes_back_as_it_was_written() -> None:
    document = Document(ROOM)
    applied(document, Put("a", b"1.10"), Put("b", b"1" * 40))
    assert document.get("a") == (b"1.10", 1)
    assert document.get("b") == (b"1" * 40, 2)


def test_a_replaced_document_has_keys_of_its_own() -> None:
    document = Document(ROOM)
    applied(document, Put("old", b"1"), Replace(b'{"a" : [1, 2] , "b":{"c":3},"\\u0061":4}'))
    assert document.get("old") is None
    assert document.get("a") == (b"4", 2)  # of a name that occurs twice the last one counts
    assert document.whole() == (b'{"a":4,"b":{"c":3}}', 2)
    applied(document, Put("b", b"5"))
    assert document.whole() == (b'{"a":4,"b":5}', 3)
    assert document.get("a") == (b"4", 2)


def test_a_document_that_is_no_object_has_no_keys_until_it_is_replaced() -> None:
    document = Document(ROOM)
    assert applied(document, Replace(b"[1, 2]"), Put("a", b"1"), Delete("a")) == [
        Applied(1, True),
        NotAnObject(2),
        NotAnObject(3),
    ]
    with pytest.raises(DocumentIsNotAnObject):
        document.get("a")
    assert document.whole() == (b"[1, 2]", 1)
    applied(document, Replace(b"{}"), Put("a", b"1"))
    assert document.whole() == (b'{"a":1}', 5)


def test_a_put_with_a_condition_is_compared_when_it_is_applied() -> None:
    document = Document(ROOM)
    assert applied(document, PutIf("a", b"1", 0), PutIf("a", b"2", 0), PutIf("a", b"3", 1), PutIf("a", b"4", 1)) == [
        Applied(1, False),
        NotAsExpected(2, 1),
        Applied(3, True),
        NotAsExpected(4, 3),
    ]
    assert document.get("a") == (b"3", 3)
    assert applied(document, Delete("a"), PutIf("a", b"5", 3)) == [Applied(5, True), NotAsExpected(6, 0)]
    assert applied(document, Replace(b"[]"), PutIf("a", b"5", 0)) == [Applied(7, True), NotAnObject(8)]


def test_a_document_that_is_no_json_stops_and_changes_nothing() -> None:
    document = Document(ROOM)
    applied(document, Put("a", b"1"))
    with pytest.raises(UnreadableCommand, match="index 2"):
        document.apply(Index(2), Replace(b'{"a":'))
    assert document.whole() == (b'{"a":1}', 1)


# --------------------------------------------------------------------------------------------------------- transactions


@pytest.mark.parametrize(
    ("last", "result"),
    [(Put("d", b"1" * 200), TooBig(2, 100)), (Replace(b"1" * 101), TooBig(2, 100)), (Put("e", b"5"), NotAnObject(2))],
)
def test_a_transaction_whose_last_operation_fails_leaves_nothing_changed(last: Operation, result: object) -> None:
    document = Document(100)
    applied(document, Replace(b'{"a":1,"b":2,"c":3}'))
    before, held, segments = document.whole(), document.get("a"), document.picture().segments
    first: tuple[Operation, ...] = (Delete("a"), Put("b", b"9"))
    if isinstance(result, NotAnObject):
        first = (Delete("a"), Replace(b"[]"))
    assert applied(document, Transaction((), (*first, last))) == [result]
    assert (document.whole(), document.get("a"), document.picture().segments) == (before, held, segments)
    assert document.journal.since(1) == ()


def test_an_operation_in_a_transaction_sees_what_the_ones_before_left() -> None:
    document = Document(ROOM)
    operations = (Put("a", b"1"), Put("b", b"2"), Delete("a"), Put("a", b"3"), Patch(b'{"b":null}'), Delete("b"))
    assert applied(document, Transaction((), operations)) == [Transacted(1, (False, False, True, False, True, False))]
    assert document.whole() == (b'{"a":3}', 1)


def test_a_transaction_may_be_larger_on_its_way_than_at_its_end() -> None:
    document = Document(20)
    applied(document, Put("a", b"1111111111"))
    assert applied(document, Transaction((), (Put("b", b"2222222222"), Delete("a")))) == [Transacted(2, (False, True))]


def test_a_transaction_compares_everything_before_it_changes_anything() -> None:
    document = Document(ROOM)
    applied(document, Put("a", b"1"), Put("b", b"2"))
    moves = (Put("a", b"2"), Put("b", b"1"))
    assert applied(document, Transaction((Condition("a", (1,)), Condition("b", (1, 3))), moves)) == [
        NotAsExpected(3, 2, condition=1)
    ]
    assert document.whole() == (b'{"a":1,"b":2}', 2)
    assert applied(document, Transaction((Condition("a", (1,)), Condition("b", (1, 2))), moves)) == [
        Transacted(4, (True, True))
    ]
    assert document.whole() == (b'{"a":2,"b":1}', 4)


def test_a_condition_asks_for_a_revision_for_existence_or_for_absence() -> None:
    document = Document(ROOM)
    applied(document, Put("a", b"1"))

    def holds(*conditions: Condition) -> bool:
        [result] = applied(document, Transaction(conditions, ()))
        return isinstance(result, Transacted)

    assert holds(Condition("a", None), Condition("b", (0,)), Condition(None, None), Condition(None, (1,)))
    assert not holds(Condition("b", None))
    assert not holds(Condition("a", (0,)))
    assert not holds(Condition("a", ()))
    assert not holds(Condition(None, (0, 2)))
    assert document.whole() == (b'{"a":1}', 1)


# -------------------------------------------------------------------------------------------------------------- patches


def test_a_patch_changes_the_revision_of_nothing_that_it_leaves_alone() -> None:
    document = Document(ROOM)
    applied(document, Put("a", b'{"x":1.10}'), Put("b", b"1e2"), Put("c", b"3"))
    applied(document, Patch(b'{"a":{"y":{"z":1.0,"n":null}},"c":null,"d":null,"b":{}}'))
    assert document.whole() == (b'{"a":{"x":1.10,"y":{"z":1.0}},"b":{}}', 4)
    applied(document, Patch(b'{"a":{"y":{}},"e":null,"b":{"f":null}}'))
    assert document.get("a") == (b'{"x":1.10,"y":{"z":1.0}}', 4)
    applied(document, Patch(b'{"b":2}'))
    assert (document.get("a"), document.get("b")) == ((b'{"x":1.10,"y":{"z":1.0}}', 4), (b"2", 6))


@pytest.mark.parametrize("command", [Patch(b"{}"), Transaction((), (Patch(b'{"b":null}'),))])
def test_the_revision_that_a_patch_answers_is_that_of_the_document_though_nothing_changed(
    command: DocumentCommand,
) -> None:
    document = Document(ROOM)
    _, done = applied(document, Put("a", b"1"), command)
    assert isinstance(done, Applied | Transacted)
    assert (document.revision, document.journal.since(1)) == (done.revision, ())
    again = Transaction((Condition(None, (done.revision,)),), (Put("a", b"2"),))
    assert applied(document, again) == [Transacted(3, (True,))]


def test_a_patch_makes_an_object_of_whatever_the_document_is() -> None:
    document = Document(ROOM)
    assert applied(document, Replace(b"[1]"), Patch(b'{"a":1}'), Patch(b"null"), Patch(b"{}")) == [
        Applied(index, True) for index in range(1, 5)
    ]
    assert document.whole() == (b"{}", 4)
    assert [change.value for change in document.journal.since(0)] == [b"[1]", b'{"a":1}', b"null", b"{}"]


@pytest.mark.parametrize("patch", [b'{"a":', b'{"a":{"b":}}', b"{1:2}"])
def test_a_patch_that_is_no_json_stops_and_changes_nothing(patch: bytes) -> None:
    document = Document(ROOM)
    applied(document, Put("a", b'{"b":1}'))
    with pytest.raises(UnreadableCommand, match="index 2"):
        document.apply(Index(2), Transaction((), (Put("c", b"1"), Patch(patch))))
    assert document.whole() == (b'{"a":{"b":1}}', 1)


def test_patches_that_would_let_everybody_wait_change_nothing() -> None:
    document = Document(100 << 20)
    large = b'{"a":' * 20 + b'{"x":"' + b"x" * (1 << 20) + b'"}' + b"}" * 20
    applied(document, Put("k", large), Put("l", large))
    patch = large.replace(b"x" * (1 << 20), b"")
    assert applied(
        document, Patch(b'{"k":%s}' % patch), Transaction((), (Put("m", b"1"), Patch(b'{"l":%s}' % patch)))
    ) == [
        Applied(3, True),
        Transacted(4, (False, True)),
    ]
    applied(document, Put("k", large), Put("l", large))
    both = b'{"k":%s,"l":%s}' % (patch, patch)
    before = document.whole()
    assert applied(document, Transaction((), (Put("m", b"2"), Patch(both)))) == [TooMuchToMerge(7, MERGED_BYTES)]
    assert document.whole() == before


def test_a_patch_that_looks_through_many_small_members_is_bounded_too() -> None:
    document = Document(100 << 20)
    dense = b"{" + b",".join(b'"%d":1' % number for number in range(20_000)) + b"}"
    applied(document, *(Put(f"{number}", dense) for number in range(20)))
    few, many = (b"{" + b",".join(b'"%d":{"x":1}' % key for key in range(keys)) + b"}" for keys in (10, 20))
    assert applied(document, Patch(few), Patch(many)) == [Applied(21, True), TooMuchToMerge(22, MERGED_BYTES)]
