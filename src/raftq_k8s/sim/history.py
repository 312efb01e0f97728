"""What all callers did to each key and heard, and whether one order explains it."""

from raftq_k8s.sim.invariants import Invariants
from raftq_k8s.sim.linearizability import FOREVER, Operation, is_explained_by_likely_places, is_linearizable
from raftq_k8s.sim.requests import Request
from raftq_k8s.sim.violation import LINEARIZABILITY, Violation


class History:
    def __init__(self, invariants: Invariants, keys: int) -> None:
        self.keys = [f"key{number}" for number in range(keys)]
        self._invariants = invariants
        self._operations: dict[str, list[Operation]] = {key: [] for key in self.keys}

    def add(self, key: str, operation: Operation) -> None:
        self._operations[key].append(operation)

    def add_all(self, request: Request) -> None:
        for key, operation in request.operations.items():
            self.add(key, operation)

    def check(self) -> None:
        for key, operations in self._operations.items():
            counting = [operation for operation in operations if self._counts(operation)]
            if not (is_explained_by_likely_places(counting) or is_linearizable(counting)):
                raise Violation(LINEARIZABILITY, f"no order explains what was done to {key}")

    def _counts(self, operation: Operation) -> bool:
        """Of those whose fate their caller does not know, only what the log holds can have had an effect."""
        place = self._invariants.took_effect(operation.command)
        operation.likely_place = operation.likely_place if place is None else place
        return operation.returned != FOREVER or place is not None
