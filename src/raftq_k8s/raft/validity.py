"""What no correct peer would send: such a message is counted and otherwise ignored, whatever it claims."""

from raftq_k8s.raft.configuration import decode
from raftq_k8s.raft.messages import (
    AppendEntries,
    AppendResponse,
    EntryKind,
    JoinRequest,
    JoinResponse,
    LeaveRequest,
    Message,
    ReadIndexRequest,
    ReadIndexResponse,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.types import Index, Milliseconds, Term

LONGEST_WINDOW: Milliseconds = 3_600_000.0
HIGHEST_TERM = Term(1 << 62)
"""Terms are counted one by one, or observed outside within `LONGEST_STEP`: nobody gets here honestly."""
HIGHEST_INDEX = Index(1 << 62)
_HIGHEST = 1 << 62
"""Of whatever else is counted. Larger numbers would not fit a volume, nor some messages."""


def is_possible(message: Message) -> bool:
    if not 0 <= message.term < HIGHEST_TERM:
        return False
    match message:
        case VoteResponse(granted=False):
            return _is_window(message.window_left)  # a voter that was just born refuses in term 0
        case JoinRequest() | JoinResponse():
            return message.incarnation != ""
        case _ if message.term == 0:
            return False
        case VoteRequest():
            return (
                _are_counts(message.last_index, message.last_term, message.transfer)
                and message.last_term <= message.term
                and _is_possible_force(message)
            )
        case VoteResponse():
            return _is_window(message.window_left)
        case AppendEntries():
            return _is_possible_append(message)
        case AppendResponse():
            return _is_window(message.window) and _are_counts(
                message.round, message.index, message.hint_index, message.hint_term
            )
        case TimeoutNow():
            return 0 < message.transfer < _HIGHEST
        case ReadIndexRequest():
            return 0 < message.ticket < _HIGHEST
        case ReadIndexResponse():
            return 0 < message.ticket < _HIGHEST and (
                0 < message.index < HIGHEST_INDEX if message.granted else message.index == 0
            )
        case SnapshotChunk():
            return _are_counts(message.round, message.cancelled) and _is_possible_piece(message)
        case SnapshotResponse():
            return _is_window(message.window) and _are_counts(message.round, message.index, message.offset)
        case LeaveRequest():  # pragma: no branch
            return message.incarnation != ""


def _are_counts(*numbers: int) -> bool:
    return min(numbers) >= 0 and max(numbers) < _HIGHEST


def _is_window(window: Milliseconds) -> bool:
    return 0 <= window <= LONGEST_WINDOW  # what is no number is in no order


def _is_possible_force(request: VoteRequest) -> bool:
    """Nobody asks for a pre-vote because a leader told it to stand; and that leader had a term."""
    return request.transfer == 0 or (request.transfer > 0 and not request.pre_vote and request.term > 1)


def _is_possible_append(append: AppendEntries) -> bool:
    """Entries follow each other from the previous position on, and terms never fall or pass the leader's."""
    if not _are_counts(append.round, append.previous_index, append.previous_term, append.commit, append.cancelled):
        return False
    if append.previous_term > append.term or (append.previous_index == 0) != (append.previous_term == 0):
        return False
    index, term = append.previous_index, append.previous_term
    for entry in append.entries:
        if entry.index != index + 1 or not max(term, 1) <= entry.term <= append.term:
            return False
        if entry.kind is EntryKind.CONFIGURATION and decode(entry.command) is None:
            return False
        index, term = entry.index, entry.term
    return True


def _is_possible_piece(chunk: SnapshotChunk) -> bool:
    """Of a snapshot of something, within it; only one that has no bytes at all goes on by a piece without any."""
    mark, end = chunk.mark, chunk.offset + len(chunk.data)
    if not (0 < mark.index < HIGHEST_INDEX and 0 < mark.term <= chunk.term and 0 <= mark.checksum < 1 << 32):
        return False
    if not mark.membership.is_possible:
        return False
    return 0 <= chunk.offset <= end <= mark.size < _HIGHEST and (chunk.data != b"" or mark.size == 0)
