"""The checker of histories: what it accepts, and what it must not."""

from raftq_k8s.sim.linearizability import Kind, Operation, is_explained_by_likely_places, is_linearizable


def put(value: str, began: float, ended: float | None = None, existed: bool | None = None) -> Operation:
    return _done(Operation(Kind.PUT, value.encode(), began), ended, existed)


def delete(began: float, ended: float | None = None, existed: bool | None = None) -> Operation:
    return _done(Operation(Kind.DELETE, None, began), ended, existed)


def get(value: str | None, began: float, ended: float) -> Operation:
    return _done(Operation(Kind.GET, None if value is None else value.encode(), began), ended, None)


def cas(expected: str, value: str, began: float, ended: float, succeeded: bool) -> Operation:
    operation = _done(Operation(Kind.CAS, value.encode(), began), ended, None)
    operation.expected, operation.succeeded = expected.encode(), succeeded
    return operation


def _done(operation: Operation, ended: float | None, existed: bool | None) -> Operation:
    if ended is not None:
        operation.returned = ended
    operation.existed = existed
    return operation


def test_one_after_the_other() -> None:
    assert is_linearizable([put("a", 0, 1, existed=False), get("a", 2, 3), delete(4, 5, existed=True), get(None, 6, 7)])


def test_a_stale_read_is_found() -> None:
    assert is_linearizable([put("a", 0, 1), put("b", 2, 3), get("a", 4, 5)]) is False


def test_a_read_of_what_was_never_written_is_found() -> None:
    assert is_linearizable([put("a", 0, 1), get("z", 2, 3)]) is False


def test_concurrent_writes_may_be_seen_in_either_order() -> None:
    for last in ("a", "b"):
        assert is_linearizable([put("a", 0, 10), put("b", 0, 10), get(last, 11, 12)])


def test_two_readers_may_not_see_two_orders() -> None:
    writes = [put("a", 0, 1), put("b", 2, 20)]
    assert is_linearizable([*writes, get("b", 3, 4), get("a", 5, 6)]) is False
    assert is_linearizable([*writes, get("a", 3, 4), get("b", 5, 6)])


def test_a_write_without_an_answer_may_take_effect_late_or_never() -> None:
    lost = put("x", 0)
    assert is_linearizable([lost, put("a", 1, 2), get("x", 3, 4)])
    assert is_linearizable([lost, put("a", 1, 2), get("a", 3, 4)])
    assert is_linearizable([lost, put("a", 1, 2), get("x", 3, 4), get("a", 5, 6)]) is False


def test_whether_a_key_was_there_is_part_of_the_answer() -> None:
    assert is_linearizable([put("a", 0, 1, existed=False), put("b", 2, 3, existed=False)]) is False
    assert is_linearizable([put("a", 0, 1), delete(2, 3), put("b", 4, 5, existed=True)]) is False


def test_of_two_comparing_writers_one_wins() -> None:
    first = put("a", 0, 1)
    assert is_linearizable([first, cas("a", "b", 2, 9, True), cas("a", "c", 2, 9, False)])
    assert is_linearizable([first, cas("a", "b", 2, 9, True), cas("a", "c", 2, 9, True)]) is False


def test_a_long_history_of_many_writers_is_decided() -> None:
    history = [put(f"{writer}-{turn}", turn * 10 + writer, turn * 10 + 9) for turn in range(200) for writer in range(4)]
    history += [get(f"3-{turn}", turn * 10 + 9.5, turn * 10 + 9.6) for turn in range(200)]
    assert is_linearizable(history)


def placed(place: int, operation: Operation) -> Operation:
    operation.likely_place = place
    return operation


def test_the_order_of_a_log_is_believed_only_when_it_explains_every_answer() -> None:
    first, second = placed(1, put("a", 0, 1)), placed(2, put("b", 2, 3))
    assert is_explained_by_likely_places([placed(2, get("b", 4, 5)), second, placed(1, get("a", 0, 2)), first])
    assert not is_explained_by_likely_places([first, second, placed(1, get("a", 4, 5))])
    assert not is_explained_by_likely_places([first, second, placed(2, get("a", 4, 5))])
    assert not is_explained_by_likely_places([placed(2, first), placed(1, second)])
