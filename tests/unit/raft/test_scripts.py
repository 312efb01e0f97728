"""Protocol conversations as plain texts: `scripts/*.txt`, each readable without the code.

A line is a command; the lines with `=>` after it say what is seen to happen, letter for letter. `pytest
--update-scripts` writes them anew, so that a change of the protocol shows up as a diff to be read.

    cluster a b c      nodes with synced, empty disks               elect a         let time pass until a leads
    advance 600ms      let time pass; messages and disks are quick  propose a TEXT  hand the leader a command
    isolate a / heal   cut a off / undo all cuts                    crash a / start a
    lost a             everybody's connection to a is seen to die   stand a         a's election time is over now
    show               who is what, and holds what
    observe a 7        a is told of term 7 from outside             slow a / quick a   a's disk stops / goes on ending
    writes
    transfer a b       a is to hand over to b                       cancel a        a goes on leading instead
    read a             somebody asks a for a read                   late            TimeoutNows that were held arrive
    hold               TimeoutNows are held by the network from here on
    snapshot a         a writes its state down, and seals it
    cluster a b c with kept_entries=0 max_chunk_bytes=200      the same, with other settings
    join d             d, perhaps a new process, asks the leader to be taken in
    wipe a             a loses its volume and comes back, as another incarnation
    leave a            a wants to leave for good
    voters a x y z     a is told to make those the voters, in one change
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from raft_cluster import Cluster, Node

from raftq_k8s.raft.membership import Member, Membership, Refusal, ReplaceVoters
from raftq_k8s.raft.messages import (
    AppendResponse,
    JoinRequest,
    JoinResponse,
    LeaveRequest,
    Message,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from raftq_k8s.raft.output import Standing
from raftq_k8s.raft.pending_reads import ReadFailure
from raftq_k8s.raft.settings import Settings
from raftq_k8s.raft.types import NO_TERM, MemberId, Term

SCRIPTS = sorted((Path(__file__).parent / "scripts").glob("*.txt"))


class Watched(Cluster):
    """A cluster that tells what happens in it."""

    def __init__(self, *names: str, settings: Settings) -> None:
        self.told: list[str] = []
        self.bases: dict[str, int] = {}
        self.before: dict[str, tuple[Standing, int]] = {}
        self.reads_asked = 0
        self.reads_told: set[tuple[str, int]] = set()
        self.held: list[Message] | None = None
        self.members: dict[str, tuple[Membership, Refusal | None]] = {}
        super().__init__(*names, settings=settings)
        self.look()

    def tell(self, what: str) -> None:
        self.told.append(what)

    def deliver(self, messages: list[Message] | None = None) -> int:  # type: ignore[override]
        batch = self.take() if messages is None else messages
        asked: set[str] = set()
        if self.held is not None:
            self.held += [message for message in batch if isinstance(message, TimeoutNow)]
            batch = [message for message in batch if not isinstance(message, TimeoutNow)]
        for message in batch:
            match message:
                case TimeoutNow() if self._arrives(message):
                    self.tell(f"{message.source} tells {message.destination} to stand for election")
                case VoteRequest(source=source, term=term, transfer=transfer) if transfer and source not in asked:
                    asked.add(source)
                    self.tell(f"{source} asks for votes in term {term}, as the leader of term {term - 1} wished")
                case VoteRequest(source=source, term=term, pre_vote=pre) if source not in asked:
                    asked.add(source)
                    self.tell(f"{source} asks for {'pre-votes for' if pre else 'votes in'} term {term}")
                case VoteResponse(granted=False, window_left=left) if left and self._arrives(message):
                    self.tell(f"{message.source} refuses {message.destination}: its window lasts {left:.0f} ms more")
                case VoteResponse(granted=False) if self._arrives(message):
                    self.tell(f"{message.source} refuses {message.destination}, term {message.term}")
                case JoinRequest(source=source, destination=asks):
                    self.tell(f"{source} asks {asks} to be taken in")
                case JoinResponse(source=source, destination=applicant, granted=True):
                    self.tell(f"{source} tells {applicant} that it is a member")
                case JoinResponse(source=source, destination=applicant, reason=reason):
                    self.tell(f"{source} tells {applicant}: not yet, {reason}")
                case LeaveRequest(source=source, destination=asks):
                    self.tell(f"{source} asks {asks} to be removed")
                case AppendResponse(success=False) if self._arrives(message):
                    self.tell(f"{message.source} has no match at {message.index}, perhaps at {message.hint_index}")
                case SnapshotChunk(mark=mark, offset=first) if self._arrives(message):
                    piece = f"bytes {first} to {first + len(message.data)} of {mark.size}"
                    self.tell(f"{message.source} sends {message.destination} its snapshot at {mark.index}: {piece}")
                case SnapshotResponse(installed=True) if self._arrives(message):
                    self.tell(f"{message.source} holds everything up to {message.index}")
                case SnapshotResponse() if self._arrives(message):
                    self.tell(f"{message.source} holds {message.offset} bytes of it")
        count = super().deliver(batch)
        self.look()
        return count

    def _arrives(self, message: Message) -> bool:
        return (message.source, message.destination) not in self.cut

    def look(self) -> None:
        for node in self.live:
            was, committed = self.before.get(node.name, (None, 0))
            now = node.core.standing
            if was is not None and now != was:
                self.tell(self._change(node, was, now))
            self._look_at_members(node)
            if node.core.commit_index > committed:
                self.tell(f"{node.name} commits up to {node.core.commit_index}")
            self.before[node.name] = now, node.core.commit_index
            if node.core.base_index != self.bases.get(node.name, 0):
                self.bases[node.name] = node.core.base_index
                self.tell(f"{node.name}'s log begins after {node.core.base_index}")
            self._look_at_reads(node)

    def _look_at_members(self, node: Node) -> None:
        core = node.core
        was, now = self.members.get(node.name), (core.membership, core.fenced)
        self.members[node.name] = now
        if was is None or was == now:
            return
        membership = core.membership
        if was[0] != membership:
            halves = " and of ".join(_names(half) for half in (membership.voters, membership.outgoing) if half)
            learners = f", {_names(membership.learners)} learns" if membership.learners else ""
            self.tell(f"{node.name} needs a majority of {halves}{learners}")
        if core.fenced is not None and was[1] is None:
            self.tell(f"{node.name} takes no part any more: {core.fenced.reason}")

    def _look_at_reads(self, node: Node) -> None:
        for context in range(1, self.reads_asked + 1):
            outcome = self.read_index(node.name, context)
            if outcome is not None and (node.name, context) not in self.reads_told:
                self.reads_told.add((node.name, context))
                failed = isinstance(outcome, ReadFailure)
                self.tell(f"{node.name} {'fails' if failed else 'answers'} read {context}: {outcome}")

    def _change(self, node: Node, was: Standing, now: Standing) -> str:
        match now:
            case Standing(role="leader", established=True):
                return f"{node.name} is established in term {now.term}"
            case Standing(role="leader"):
                return f"{node.name} leads term {now.term}"
            case Standing(role="follower", leader=None) if was.role == "leader":
                return f"{node.name} steps down, term {now.term}"
            case Standing(role="follower", leader=str() as leader):
                return f"{node.name} follows {leader}, term {now.term}"
            case _:
                return f"{node.name} is {now.role} in term {now.term}, no leader"

    def advance(self, milliseconds: float) -> None:
        super().advance(milliseconds)
        self.look()

    def show(self) -> None:
        for node in self.nodes.values():
            if node.consensus is None:
                self.tell(f"{node.name} is down")
                continue
            core = node.core
            commands = " ".join(command.decode() for command in node.commands)
            self.tell(
                f"{node.name}: {core.standing.role} of {core.standing.leader or 'nobody'}, term {core.standing.term}, "
                f"last {core.last_index}, committed {core.commit_index}: {commands}".rstrip(": ")
            )


def _names(members: tuple[Member, ...]) -> str:
    return " ".join(member.name for member in members)


def run(script: str) -> Iterator[str]:
    cluster: Watched | None = None
    for line in script.splitlines():
        if line.startswith("=>"):
            continue
        yield line
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if words[0] == "cluster":
            names, _, settings = line.removeprefix("cluster ").partition(" with ")
            numbers = {name: int(number) for name, number in (each.split("=") for each in settings.split())}
            cluster = Watched(*names.split(), settings=Settings(**numbers))
            continue
        assert cluster is not None, "a script begins with `cluster`"
        perform(cluster, words)
        cluster.look()
        yield from (f"=> {told}" for told in cluster.told)
        cluster.told.clear()


def perform(cluster: Watched, words: list[str]) -> None:
    match words:
        case ["elect", name]:
            cluster.elect(name)
        case ["advance", time]:
            cluster.advance(float(time.removesuffix("ms")))
        case ["propose", name, text]:
            cluster.propose(name, text.encode())
            cluster.settle()
        case ["isolate", name]:
            cluster.isolate(name)
        case ["heal"]:
            cluster.heal()
        case ["crash", name]:
            cluster.nodes[name].crash()
            cluster.before.pop(name)
        case ["start", name]:
            cluster.nodes[name].start()
        case ["lost", name]:
            for node in cluster.live:
                node.core.peer_lost(MemberId(name), cluster.now)
        case ["stand", name]:
            cluster[name]._core.election_at = cluster.now
        case ["observe", name, term]:
            cluster[name].observe_term(Term(int(term)), cluster.now)
            cluster.settle()
        case ["slow", name]:
            cluster.nodes[name].slow_disk = True
        case ["quick", name]:
            cluster.nodes[name].slow_disk = False
            cluster.settle()
        case ["transfer", name, target]:
            cluster[name].transfer(MemberId(target), cluster.now)
            cluster.settle()
        case ["cancel", name]:
            cluster[name].cancel_transfer(cluster.now)
            cluster.settle()
        case ["hold"]:
            cluster.held = []
        case ["late"]:
            late, cluster.held = cluster.held or [], None
            cluster.deliver(late)
            cluster.settle()
        case ["read", name]:
            cluster.reads_asked += 1
            cluster.read(name, cluster.reads_asked)
            cluster.settle()
        case ["snapshot", name]:
            cluster.snapshot(name)
        case ["join", name]:
            node = cluster.nodes.get(name) or cluster.add(name)
            leader = cluster.leader()
            assert leader is not None
            cluster.deliver([JoinRequest(node.name, MemberId(leader), NO_TERM, node.incarnation)])
            cluster.settle()
        case ["wipe", name]:
            cluster.nodes[name].wipe()
            cluster.nodes[name].start()
            cluster.before.pop(name)
            cluster.members.pop(name)
        case ["leave", name]:
            cluster[name].depart(MemberId(name), cluster.now)
            cluster.settle()
        case ["voters", name, *voters]:
            cluster.change(name, ReplaceVoters(tuple(cluster.nodes[voter].member for voter in voters)))
            cluster.settle()
        case ["show"]:
            cluster.show()
        case _:
            raise ValueError(f"no such command: {' '.join(words)}")


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_the_conversation_goes_as_written(path: Path, request: pytest.FixtureRequest) -> None:
    happened = "\n".join(run(path.read_text())) + "\n"
    if request.config.getoption("--update-scripts"):
        path.write_text(happened)
    assert happened == path.read_text()
