"""The rules by name, and what it is when one is broken. The numbers are those of the list in `docs/simulator.md`."""

ELECTION_SAFETY = "1 election safety"
LEADER_APPEND_ONLY = "2 leader append-only"
LOG_MATCHING = "3 log matching"
LEADER_COMPLETENESS = "4 leader completeness"
STATE_MACHINE_SAFETY = "5 state-machine safety"
DURABLE_BEFORE_REPLY = "6 durable before reply"
LINEARIZABILITY = "7 linearizability"
MEMBERSHIP_SAFETY = "8 membership safety"
EXACTLY_ONCE = "9 exactly once"
ONE_LEASE_HOLDER = "10 one lease holder"
LIVENESS = "11 liveness"
NO_EXCEPTION = "no exception"


class Violation(Exception):
    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant
        self.what = what
