"""The document against a model of plain dicts, and what it says at its bounds."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq_k8s.raft.types import Index
from raftq_k8s.state.commands import (
    Applied,
    Delete,
    DocumentCommand,
    NotAnObject,
    NotAsExpected,
    Put,
    PutIf,
    Replace,
    TooBig,
)
from raftq_k8s.state.document import Document, DocumentIsNotAnObject, UnreadableCommand

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


commands = st.lists(
    st.builds(lambda key, value: Put(key, text(value)), keys, values)
    | st.builds(lambda key, value, expected: PutIf(key, text(value), expected), keys, values, st.integers(0, 9))
    | st.builds(Delete, keys)
    | st.builds(lambda value: Replace(text(value)), values | st.dictionaries(keys, values, max_size=4)),
    max_size=30,
)


def applied(document: Document, *sequence: DocumentCommand) -> list[object]:
    results: list[object] = []
    for command in sequence:
        document.applied_index = Index(document.applied_index + 1)
        results.append(document.apply(document.applied_index, command))
    return results


@given(commands)
def test_the_document_is_what_a_dict_would_be(sequence: list[DocumentCommand]) -> None:
    document = Document(ROOM)
    model: object = {}
    revisions: dict[str, int] = {}
    changed = 0
    for index, command in enumerate(sequence, start=1):
        [result] = applied(document, command)
        match command:
            case Replace(body):
                model = json.loads(body)
                revisions = dict.fromkeys(model, index) if isinstance(model, dict) else {}
                changed = index
                assert result == Applied(index, existed=True)
            case _ if not isinstance(model, dict):
                assert result == NotAnObject(index)
            case PutIf(key, _, expected) if expected != revisions.get(key, 0):
                assert result == NotAsExpected(index, revisions.get(key, 0))
            case Put(key, value) | PutIf(key, value):
                assert result == Applied(index, existed=key in model)
                model[key] = json.loads(value)
                revisions[key] = changed = index
            case Delete(key):
                assert result == Applied(index, existed=key in model)
                if key in model:
                    del model[key], revisions[key]
                    changed = index
        whole, revision = document.whole()
        assert json.loads(whole) == model
        assert revision == changed
        assert document.size_bytes == len(whole)
        if isinstance(model, dict):
            assert list(json.loads(whole)) == list(model)
            for key in model:
                found = document.get(key)
                assert found is not None
                assert (json.loads(found[0]), found[1]) == (model[key], revisions[key])


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
