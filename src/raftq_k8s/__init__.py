"""Leader election and leader routing on Kubernetes, by Raft in the pod."""

from raftq_k8s.node.events import RaftEvent, RaftNode
from raftq_k8s.node.options import RaftqOptions
from raftq_k8s.node.persist_agent import PersistAgent
from raftq_k8s.node.raftq import Raftq
from raftq_k8s.node.status import RaftRole

__all__ = ["PersistAgent", "RaftEvent", "RaftNode", "RaftRole", "Raftq", "RaftqOptions"]
