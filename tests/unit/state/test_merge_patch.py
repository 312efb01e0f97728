"""Merge patches: the examples of RFC 7396, appendix A, and what texts keep."""

import pytest

from raftq_k8s.state.merge_patch import MEMBER_BYTES, Merging, TooMuch


def merged(target: bytes | None, patch: bytes) -> bytes | None:
    return Merging(1 << 22).merged(target, patch)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        (b'{"a":"b"}', b'{"a":"c"}', b'{"a":"c"}'),
        (b'{"a":"b"}', b'{"b":"c"}', b'{"a":"b","b":"c"}'),
        (b'{"a":"b"}', b'{"a":null}', b"{}"),
        (b'{"a":"b","b":"c"}', b'{"a":null}', b'{"b":"c"}'),
        (b'{"a":["b"]}', b'{"a":"c"}', b'{"a":"c"}'),
        (b'{"a":"c"}', b'{"a":["b"]}', b'{"a":["b"]}'),
        (b'{"a":{"b":"c"}}', b'{"a":{"b":"d","c":null}}', b'{"a":{"b":"d"}}'),
        (b'{"a":[{"b":"c"}]}', b'{"a":[1]}', b'{"a":[1]}'),
        (b'["a","b"]', b'["c","d"]', b'["c","d"]'),
        (b'{"a":"b"}', b'["c"]', b'["c"]'),
        (b'{"a":"foo"}', b"null", b"null"),
        (b'{"a":"foo"}', b'"bar"', b'"bar"'),
        (b'{"e":null}', b'{"a":1}', b'{"e":null,"a":1}'),
        (b"[1,2]", b'{"a":"b","c":null}', b'{"a":"b"}'),
        (b"{}", b'{"a":{"bb":{"ccc":null}}}', b'{"a":{"bb":{}}}'),
        (None, b'{"a":null,"b":[null]}', b'{"b":[null]}'),
    ],
)
def test_the_examples_of_the_rfc(target: bytes | None, patch: bytes, result: bytes) -> None:
    assert merged(target, patch) == result


def test_what_a_patch_does_not_touch_stays_letter_for_letter() -> None:
    target = b'{ "n" : 1.10, "deep": { "x" : [ 1e2 ] , "big": 1234567890123456789012345 }, "o" : {"\\u0061" : 0.0} }'
    assert merged(target, b'{"deep": {"y" : 1.000}}') == (
        b'{"n":1.10,"deep":{"x":[ 1e2 ],"big":1234567890123456789012345,"y":1.000},"o":{"\\u0061" : 0.0}}'
    )


@pytest.mark.parametrize("patch", [b"{}", b'{"b":null}', b'{"a":{"c":null}}', b'{"a":{}}', b'{"a":{"b":{}}}'])
def test_a_patch_that_changes_nothing_is_known_as_one(patch: bytes) -> None:
    assert merged(b'{"a":{"b":{"d":1}}}', patch) is None


def test_a_patch_as_deep_as_any_value_may_be_is_merged() -> None:
    deep = b'{"a":' * 100 + b"1" + b"}" * 100
    assert merged(deep, deep.replace(b"1", b"2")) == deep.replace(b"1", b"2")
    assert merged(b"{}", deep) == deep


def test_what_is_new_stays_letter_for_letter_too() -> None:
    assert merged(b"[1]", b'{"a" : { "b":1.10 } }') == b'{"a" : { "b":1.10 } }'


def test_what_is_looked_through_is_bounded_in_sum() -> None:
    deep = b'{"a":{"a":{"a":1}}}'
    looked_through = sum(
        2 * (len(text) + members * MEMBER_BYTES)
        for members, text in ((3, deep), (2, b'{"a":{"a":1}}'), (1, b'{"a":1}'))
    )
    assert Merging(looked_through).merged(deep, deep) == deep
    with pytest.raises(TooMuch):
        Merging(looked_through - 1).merged(deep, deep)
