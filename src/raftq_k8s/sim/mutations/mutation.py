"""What a deliberate bug is: patches of the core or the driver that last while a run does.

They stand beside the simulator and not in the core: nothing that ships can be mutated by a setting. A mutation names
the invariant it is meant for; which one catches it first may be another, for a broken rule breaks what rests on it.
`faults` narrows the swarm to the kinds that provoke it soonest, `shaped` changes what else makes it show.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from raftq_k8s.sim.faults import KINDS, Plan, swarm


def _as_it_is(plan: Plan) -> Plan:
    return plan


class Mutation(NamedTuple):
    name: str
    meant_for: str
    what: str
    patches: tuple[tuple[Any, str, Any], ...]
    faults: tuple[str, ...] = tuple(KINDS)
    often: float = 1.0
    shaped: Callable[[Plan], Plan] = _as_it_is

    def provoking(self, seed: int) -> Plan:
        return self.shaped(swarm(seed, self.faults, often=self.often))


@contextmanager
def mutated(mutation: Mutation) -> Iterator[None]:
    before = [(target, name, getattr(target, name)) for target, name, _ in mutation.patches]
    for target, name, replacement in mutation.patches:
        setattr(target, name, replacement)
    try:
        yield
    finally:
        for target, name, original in before:
            setattr(target, name, original)
