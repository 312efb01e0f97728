"""What a command of several operations does to the document."""

from raftq_k8s.raft.types import Index
from raftq_k8s.sim.mutations.mutation import Mutation
from raftq_k8s.state.commands import Condition, DocumentResult, Operation
from raftq_k8s.state.document import Document
from raftq_k8s.state.draft import Draft

_transact, _become = Document._transact, Document._become


def _the_first_step_alone(self: Document, index: Index, draft: Draft) -> None:
    del draft.steps[1:]
    _become(self, index, draft)


def _unconditionally(
    self: Document, index: Index, conditions: tuple[Condition, ...], operations: tuple[Operation, ...]
) -> DocumentResult:
    return _transact(self, index, (), operations)


MUTATIONS = (
    Mutation(
        "half-a-transaction",
        "7",
        "of what changes two keys at once, one is changed",
        ((Document, "_become", _the_first_step_alone),),
    ),
    Mutation(
        "conditions-ignored",
        "7",
        "a transaction compares nothing",
        ((Document, "_transact", _unconditionally),),
    ),
)
