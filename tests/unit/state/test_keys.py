"""The keys of a document against a dict, and what is frozen against a copy of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raftq_k8s.state import keys
from raftq_k8s.state.keys import Held, Keys

steps = st.lists(
    st.tuples(st.sampled_from(["put", "put", "pop", "freeze"]), st.sampled_from("abcdefgh")), min_size=1, max_size=60
)


@pytest.mark.parametrize("segment", [1, 2, 3, 512])
def test_keys_are_a_dict_and_a_picture_of_them_never_changes(segment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "SEGMENT", segment)

    @given(steps)
    def holds(sequence: list[tuple[str, str]]) -> None:
        ours, model = Keys(), dict[str, Held]()
        pictures: list[tuple[tuple[dict[str, Held], ...], list[tuple[str, Held]]]] = []
        for number, (step, key) in enumerate(sequence):
            match step:
                case "put":
                    ours.put(key, (b"1", number))
                    model[key] = (b"1", number)
                case "pop":
                    assert ours.pop(key) == model.pop(key, None)
                case _:
                    pictures.append((ours.freeze(), list(model.items())))
            assert list(ours.items()) == list(model.items())
            assert ours.get(key) == model.get(key)
            assert len(ours) == len(model)
        for picture, was in pictures:
            assert [item for segment in picture for item in segment.items()] == was
            assert all(picture)

    holds()


def test_after_a_picture_only_the_segments_that_change_are_copied() -> None:
    ours = Keys((str(number), (b"1", 1)) for number in range(4 * keys.SEGMENT))
    before = ours.freeze()
    assert [len(segment) for segment in before] == [keys.SEGMENT] * 4
    ours.put("0", (b"2", 2))
    copied = ours._segments[1]
    ours.put("1", (b"2", 2))
    assert ours._segments[1] is copied  # once
    after = ours.freeze()
    assert [one is other for one, other in zip(before, after, strict=True)] == [False, True, True, True]


def test_keys_that_come_and_go_leave_no_segments_behind() -> None:
    ours = Keys()
    for number in range(10 * keys.SEGMENT):
        ours.put(str(number), (b"1", 1))
        ours.pop(str(number))
    assert ours.freeze() == ()
