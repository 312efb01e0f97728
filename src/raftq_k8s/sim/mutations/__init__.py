"""Deliberate bugs, to see that the simulator finds such."""

from raftq_k8s.sim.mutations.mutation import Mutation, mutated
from raftq_k8s.sim.mutations.table import MUTATIONS

__all__ = ["MUTATIONS", "Mutation", "mutated"]
