"""What a check of `raftq doctor` found."""

from enum import Enum

import msgspec


class State(Enum):
    WELL = "well"
    NOTE = "note"
    """Nothing is broken by it, but it is worth a look."""
    WRONG = "wrong"
    SKIPPED = "skipped"
    """It could not be looked at from here, or is not used."""


class Finding(msgspec.Struct, frozen=True):
    check: str
    state: State
    found: str
    advice: str = ""
    """What to do; empty where there is nothing."""
