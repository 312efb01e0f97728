"""Majorities.

Whatever Raft decides by counting is decided here: who won a vote, which index is committed, until when a majority keeps
its promise to elect nobody else. A joint configuration (dissertation §4.3) needs a majority of both halves; every
function asks each half, so a caller cannot forget one.
"""

from collections.abc import Collection, Mapping, Sequence
from enum import Enum

from raftq_k8s.raft.configuration import Configuration
from raftq_k8s.raft.types import NO_INDEX, Index, Instant, MemberId

NEVER: Instant = float("-inf")
FOREVER: Instant = float("inf")


class Tally(Enum):
    WON = "won"
    LOST = "lost"
    UNDECIDED = "undecided"


def majority(voters: int) -> int:
    return voters // 2 + 1


def tally(votes: Mapping[MemberId, bool], configuration: Configuration) -> Tally:
    """How a vote stands. `votes` lacks a voter that has not answered; one voter counts once, whatever it sends."""
    halves = [_half_tally(votes, half) for half in configuration.halves]
    if Tally.LOST in halves:
        return Tally.LOST
    return Tally.UNDECIDED if Tally.UNDECIDED in halves else Tally.WON


def _half_tally(votes: Mapping[MemberId, bool], voters: Sequence[MemberId]) -> Tally:
    granted = sum(votes.get(voter) is True for voter in voters)
    refused = sum(votes.get(voter) is False for voter in voters)
    if granted >= majority(len(voters)):
        return Tally.WON
    return Tally.LOST if len(voters) - refused < majority(len(voters)) else Tally.UNDECIDED


def is_majority(members: Collection[MemberId], configuration: Configuration) -> bool:
    """Whether these alone could decide."""
    return all(sum(voter in members for voter in half) >= majority(len(half)) for half in configuration.halves)


def committed_index(held: Mapping[MemberId, Index], configuration: Configuration) -> Index:
    """The highest index that a majority holds on stable storage. `held` lacks a member that has acknowledged
    nothing."""
    return min(
        sorted((held.get(voter, NO_INDEX) for voter in half), reverse=True)[majority(len(half)) - 1]
        for half in configuration.halves
    )


def acknowledged_round(heard: Mapping[MemberId, int], configuration: Configuration) -> int:
    """The last round that a majority acknowledged, that one or a later one. `heard` lacks a member that has
    acknowledged none; rounds are counted from 1."""
    return min(
        sorted((heard.get(voter, 0) for voter in half), reverse=True)[majority(len(half)) - 1]
        for half in configuration.halves
    )


def promised_until(promises: Mapping[MemberId, Instant], configuration: Configuration) -> Instant:
    """Until when no majority can elect anybody else, of what each voter promised; `NEVER` without a majority's promise.

    Any majority that could elect a rival shares a voter with the majority that keeps its promises longest.
    """
    return min(
        sorted((promises.get(voter, NEVER) for voter in half), reverse=True)[majority(len(half)) - 1]
        for half in configuration.halves
    )
