"""All of them, by the chapter that they break."""

from raftq_k8s.sim.mutations import (
    callers,
    disks,
    documents,
    elections,
    leases,
    membership,
    reads,
    replication,
    sessions,
    snapshots,
    transfers,
)
from raftq_k8s.sim.mutations.mutation import Mutation

MUTATIONS: tuple[Mutation, ...] = (
    *elections.MUTATIONS,
    *replication.MUTATIONS,
    *disks.MUTATIONS,
    *callers.MUTATIONS,
    *sessions.MUTATIONS,
    *documents.MUTATIONS,
    *snapshots.MUTATIONS,
    *leases.MUTATIONS,
    *transfers.MUTATIONS,
    *reads.MUTATIONS,
    *membership.MUTATIONS,
)
