"""The vocabulary of the event bus, letter for letter the contract's."""

from enum import StrEnum

import msgspec

from raftq_k8s.raft.types import MemberId


class RaftEvent(StrEnum):
    # from the application
    SERVICE_STARTED = "serviceStarted"
    SERVICE_CRASHED = "serviceCrashed"
    REPLICATE_DATA = "replicateData"
    ACK_NODE = "ackNode"
    # to the application
    LOG = "log"
    ROLE_CHANGED = "roleChanged"
    # to the application, which carries it to `message["destination"]`
    VOTE_REQUEST = "voteRequest"
    VOTE_RESPONSE = "voteResponse"
    SYNC_DATA = "syncData"
    DATA_RESPONSE = "dataResponse"
    # from the application, which received it
    VOTE_REQUEST_RECEIVED = "voteRequestReceived"
    VOTE_RESPONSE_RECEIVED = "voteResponseReceived"
    DATA_RECEIVED = "dataReceived"
    DATA_RESPONSE_RECEIVED = "dataResponseReceived"


RECEIVED_AS = {
    RaftEvent.VOTE_REQUEST: RaftEvent.VOTE_REQUEST_RECEIVED,
    RaftEvent.VOTE_RESPONSE: RaftEvent.VOTE_RESPONSE_RECEIVED,
    RaftEvent.SYNC_DATA: RaftEvent.DATA_RECEIVED,
    RaftEvent.DATA_RESPONSE: RaftEvent.DATA_RESPONSE_RECEIVED,
}
"""What leaves one node as the one is dispatched to the other as the other."""

SENT_AS = {received: sent for sent, received in RECEIVED_AS.items()}


class RaftNode(msgspec.Struct):
    """A node as the application names it. `time`: when it was known to be there, in ms since the epoch; 0 is away."""

    id: MemberId
    time: int | float = 0
