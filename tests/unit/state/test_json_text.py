"""What may enter the document, and what may not."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq_k8s.state.json_text import DOCUMENT_DEPTH, VALUE_DEPTH, NotJson, document_text, value_text


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize(
    "body",
    [b"1.10", b"1" * 40, b"-0", b"1e2", b'"a[{"', b'{"a":1,"a":2}', b"null", b'"\\u0000"', b'"\\ud83d\\ude00"'],
)
def test_the_text_stays_as_it_was_written(body: bytes) -> None:
    assert value_text(b" \r\n\t" + body + b"\n") == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"1e400",
        b"1" * 5000,
        b"01",
        b"{'a':1}",
        b'{"a":1,}',
        b"1 2",
        b"\xef\xbb\xbf1",
        b'"\xff"',
        b'{"\xff":1}',
        b'"\xed\xa0\x80"',
        b'"\\ud800"',
        b'"line\nbreak"',
        b"\x0b1",
        b"colour=red",
        nested(5000),
    ],
)
def test_what_no_reader_could_hold_is_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        value_text(body)


def test_nesting_is_bounded_and_a_document_of_the_deepest_values_can_be_put_back() -> None:
    deepest = nested(VALUE_DEPTH)
    assert value_text(deepest) == deepest
    assert document_text(b'{"a":' + deepest + b"}")
    for refused in (value_text, nested(VALUE_DEPTH + 1)), (document_text, nested(DOCUMENT_DEPTH + 1)):
        door, body = refused
        with pytest.raises(NotJson, match="nested"):
            door(body)


def test_nesting_is_found_behind_a_name_that_occurs_twice() -> None:
    with pytest.raises(NotJson, match="nested"):
        value_text(b'{"a":' + nested(VALUE_DEPTH) + b',"a":1}')


def test_brackets_in_strings_and_beside_each_other_are_not_nesting() -> None:
    value_text(json.dumps("[{" * 500 + '"' + "[" * 500).encode())
    value_text(b"[" + b",".join([b"[]"] * 500) + b"]")


@given(st.binary(max_size=40) | st.text(alphabet='[]{}",:\\u0d8 1e.-tru', max_size=20).map(str.encode))
def test_what_is_let_in_is_json_for_others_too(body: bytes) -> None:
    try:
        kept = value_text(body)
    except NotJson:
        return
    json.loads(kept)
