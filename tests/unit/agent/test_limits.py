"""How many files the process may open."""

import resource

import pytest

from raftq_k8s.agent.limits import WANTED_FILES, raise_open_files

NONE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "becomes"),
    [
        (1024, 4096, 4096),
        (1024, 1 << 20, WANTED_FILES),
        (1024, NONE, WANTED_FILES),
        (1024, 1024, 1024),
        (1 << 18, 1 << 20, 1 << 18),
        (NONE, NONE, NONE),
    ],
)
def test_it_is_raised_as_far_as_it_may_and_never_lowered(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, becomes: int
) -> None:
    now = (soft, hard)

    def set_to(_: int, limits: tuple[int, int]) -> None:
        nonlocal now
        now = limits

    monkeypatch.setattr(resource, "getrlimit", lambda _: now)
    monkeypatch.setattr(resource, "setrlimit", set_to)
    raise_open_files()
    assert now == (becomes, hard)


def test_a_system_that_refuses_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int, limits: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, NONE))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    raise_open_files()
