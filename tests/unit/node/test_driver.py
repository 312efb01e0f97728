"""In which order a node does things, and what it tells whom."""

import msgspec
import pytest
from driver_cluster import LARGEST, SETTINGS, DriverCluster, member, record

from raftq_k8s.node import driver as driver_of_node
from raftq_k8s.node import submissions
from raftq_k8s.node.actions import Actions, BirthReceipt
from raftq_k8s.node.forwarding import Forward, Forwarded, Refused, Unknown
from raftq_k8s.raft.consensus import Consensus
from raftq_k8s.raft.membership import Membership
from raftq_k8s.raft.messages import AppendEntries, Entry, EntryKind, SnapshotMark, VoteRequest
from raftq_k8s.raft.output import NO_OUTPUT
from raftq_k8s.raft.types import BootId, Generation, Incarnation, Index, Term
from raftq_k8s.state.commands import Applied, Patch, Put, Replace, encode
from raftq_k8s.state.document import UnreadableCommand

ABC = ("a", "b", "c")
RED = encode(Put("colour", b'"red"'))
BLUE = encode(Put("colour", b'"blue"'))


# ------------------------------------------------------------------------------------------------------------- birth


def test_the_record_is_on_stable_storage_before_it_is_announced_or_acted_upon() -> None:
    cluster = DriverCluster(*ABC, initialised=False)
    for held in cluster.nodes.values():
        first = next(write for actions in held.history for write in actions.writes)
        assert first[0] == BirthReceipt()
        assert first[1].birth == record(*ABC)
        announced = [number for number, actions in enumerate(held.history) if actions.announce]
        written = [number for number, actions in enumerate(held.history) if first in actions.writes]
        assert len(announced) == len(written) == 1
        assert announced[0] > written[0]


def test_while_the_record_is_not_on_the_disk_the_node_belongs_to_no_cluster() -> None:
    cluster = DriverCluster("a", "b", initialised=False, disks_end=False)
    founder = cluster["a"]
    assert [write.birth for _, write in founder.writes] == [record("a", "b")]
    assert founder.driver.hello().identity.cluster is None
    assert founder.driver.hello().birth is None
    assert "volume" in (founder.driver.status(cluster.now).waiting_for or "")
    founder.disk_ends = True
    cluster.settle()
    assert founder.driver.hello().birth == record("a", "b")
    assert founder.driver.status(cluster.now).waiting_for is None


def test_a_node_that_expects_nobody_else_founds_at_once() -> None:
    cluster = DriverCluster("a", initialised=False)
    assert cluster["a"].driver.identity.cluster == "cluster"


def test_who_greeted_before_the_birth_is_heard_after_it() -> None:
    cluster = DriverCluster(*ABC, initialised=False)
    cluster.elect()


def test_whoever_greeted_under_a_name_last_is_heard_after_the_birth() -> None:
    """With another volume it counts its starts anew; and before the birth its predecessor may not be known to be gone.
    Of one volume the younger process counts."""
    cluster = DriverCluster("a", "b", initialised=False, disks_end=False)
    founder = cluster["a"]
    wiped = msgspec.structs.replace(cluster["b"].driver.identity, member=member("z"))
    former = msgspec.structs.replace(wiped, incarnation=Incarnation("lost"), generation=Generation(57))
    late = msgspec.structs.replace(wiped, generation=Generation(0), boot=BootId("late"))
    for process in (former, wiped, late):
        founder.driver.greet(msgspec.structs.replace(cluster["b"].driver.hello(), identity=process), cluster.now)
    founder.disk_ends = True
    cluster.settle()
    for process, unheard in ((former, 1), (wiped, 1), (late, 2)):
        vote = VoteRequest(process.member, founder.name, Term(1), founder.volume.incarnation, Index(9), Term(1), True)
        founder.driver.receive(process, [vote], cluster.now)
        assert founder.driver.status(cluster.now).ignored_messages["stranger"] == unheard


def test_a_term_observed_before_the_birth_is_passed_by_the_first_election() -> None:
    cluster = DriverCluster("a", "b", initialised=False, disks_end=False)
    cluster["a"].driver.observe_term(Term(41), cluster.now)
    for held in cluster.nodes.values():
        held.disk_ends = True
    leader = cluster.elect()
    assert cluster[leader].driver.standing.term > 41


# ------------------------------------------------------------------------------------------------ who is listened to


def test_a_process_that_did_not_greet_is_not_heard() -> None:
    cluster = DriverCluster(*ABC)
    stranger = msgspec.structs.replace(cluster["b"].driver.identity, boot=BootId("another"))
    leaderless = cluster["a"].driver.standing
    vote = VoteRequest(stranger.member, cluster["a"].name, Term(9), stranger.incarnation, Index(9), Term(9), False)
    cluster["a"].driver.receive(stranger, [vote], cluster.now)
    cluster.settle()
    assert cluster["a"].driver.standing == leaderless
    assert cluster["a"].driver.status(cluster.now).ignored_messages["stranger"] == 1


def test_strangers_that_are_gone_fill_no_memory() -> None:
    cluster = DriverCluster(*ABC)
    driver = cluster["a"].driver
    known = set(driver._peers._boots), set(driver._peers._http_addresses)
    for number in range(5):
        name = member(f"stranger-{number}")
        who = msgspec.structs.replace(driver.identity, cluster=None, member=name)
        driver.greet(msgspec.structs.replace(driver.hello(), identity=who), cluster.now)
        cluster.settle()
        assert name in driver._peers._boots
        driver.lost(name, cluster.now)
    assert (set(driver._peers._boots), set(driver._peers._http_addresses)) == known


def test_a_message_in_another_members_name_is_not_heard() -> None:
    cluster = DriverCluster(*ABC)
    sender = cluster["b"].driver.identity
    vote = VoteRequest(cluster["c"].name, cluster["a"].name, Term(9), sender.incarnation, Index(9), Term(9), False)
    cluster["a"].driver.receive(sender, [vote], cluster.now)
    assert cluster["a"].driver.standing.term == 0
    assert cluster["a"].driver.status(cluster.now).ignored_messages["misaddressed"] == 1


# --------------------------------------------------------------------------------------------------------- commands


def test_single_node_nothing_is_resolved_before_it_is_durable() -> None:
    cluster = DriverCluster("a")
    cluster.elect()
    cluster["a"].disk_ends = False
    token = cluster.submit("a", RED)
    assert cluster["a"].document.get("colour") is None
    assert token not in cluster["a"].resolved
    cluster["a"].disk_ends = True
    cluster.settle()
    assert isinstance(cluster["a"].resolved[token], Applied)


def test_nothing_is_resolved_before_a_majority_holds_it() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    for name in cluster.others(leader):
        cluster[name].disk_ends = False
    token = cluster.submit(leader, RED)
    assert token not in cluster[leader].resolved
    assert cluster[leader].document.get("colour") is None
    cluster[cluster.others(leader)[0]].disk_ends = True
    cluster.settle()
    assert isinstance(cluster[leader].resolved[token], Applied)
    assert cluster[leader].document.get("colour") is not None


def test_the_write_and_the_appends_of_a_batch_leave_together() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    before = len(cluster[leader].history)
    cluster.hold_messages = True
    cluster.submit(leader, RED, BLUE)
    first = cluster[leader].history[before]
    ((_, write),) = first.writes
    assert [entry.command for entry in write.entries] == [RED, BLUE]
    assert set(first.messages) == set(cluster.others(leader))
    for messages in first.messages.values():
        assert [type(message) for message in messages] == [AppendEntries]


def test_a_proposal_that_survives_its_leaders_fall_is_answered_with_its_result() -> None:
    cluster = DriverCluster(*ABC)
    old = cluster.elect()
    cluster.hold_messages = True
    token = cluster.submit(old, RED)
    for sender, destination, message in list(cluster.network):  # the followers get it; their answers are lost
        cluster[destination].driver.receive(sender, [message], cluster.now)
    cluster.hold_messages = False
    cluster.network.clear()
    cluster.cut.add(old)
    cluster.settle()
    new = cluster.elect()
    assert token not in cluster[old].resolved
    assert cluster[new].document.get("colour") is not None
    cluster.cut.clear()
    cluster.advance(400)
    assert isinstance(cluster[old].resolved[token], Applied)


def test_a_proposal_that_is_overwritten_provably_did_nothing() -> None:
    cluster = DriverCluster(*ABC)
    old = cluster.elect()
    cluster.cut.add(old)
    token = cluster.submit(old, RED, RED, patience=60_000)  # the new leader's own entry takes the place of the first,
    new = cluster.elect()  # and its command that of the second
    cluster.advance(2_000)
    assert cluster[old].driver.standing.leader is None
    assert token not in cluster[old].resolved  # deposed is no proof
    cluster.submit(new, BLUE)
    cluster.cut.clear()
    cluster.advance(400)
    assert cluster[old].resolved[token] == Refused("not-leader")


def test_the_end_of_the_callers_time_is_no_proof_either() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    cluster.cut.add(leader)
    token = cluster.submit(leader, RED, patience=300)
    cluster.advance(301)
    assert cluster[leader].resolved[token] == Unknown()


def test_what_nobody_could_be_given_did_nothing() -> None:
    cluster = DriverCluster(*ABC)
    cluster.cut.update("bc")
    token = cluster.submit("a", RED, patience=300)
    cluster.advance(299)
    assert token not in cluster["a"].resolved
    cluster.advance(1)
    assert cluster["a"].resolved[token] == Refused("no-leader")


def test_too_large_never_enters_the_log() -> None:
    cluster = DriverCluster("a")
    cluster.elect()
    last = cluster["a"].driver.status(cluster.now).last_index
    token = cluster.submit("a", b"x" * (LARGEST + 1))
    assert cluster["a"].resolved[token] == Refused("too-large")
    assert cluster["a"].driver.status(cluster.now).last_index == last


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 50
    monkeypatch.setattr(submissions, "UNDECIDED_LIMIT", limit)
    cluster = DriverCluster(*ABC)
    cluster.submit("a", *[RED] * limit)
    assert not cluster["a"].resolved
    one_more = cluster.submit("a", RED)
    assert cluster["a"].resolved == {one_more: Refused("overloaded")}
    cluster.elect()
    applied = [outcome for outcome in cluster["a"].resolved.values() if isinstance(outcome, Applied)]
    assert len(applied) == limit


def test_what_a_deposed_leader_proposed_takes_no_room_when_nobody_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands beyond the end of the new leader's log, and perhaps that will never reach so far."""
    limit = 50
    monkeypatch.setattr(submissions, "UNDECIDED_LIMIT", limit)
    cluster = DriverCluster(*ABC)
    old = cluster.elect()
    follower, _ = cluster.others(old)
    cluster.cut.add(old)
    for ticket in range(limit // 2):
        forward = Forward(cluster[follower].name, cluster[old].name, ticket, RED)
        cluster[old].driver.receive(cluster[follower].driver.identity, [forward], cluster.now)
    given_up = cluster.submit(old, *[RED] * (limit // 2), patience=300)
    cluster.elect()
    cluster.advance(2_000)
    assert cluster[old].resolved[given_up] == Unknown()
    cluster[old].driver.lost(cluster[follower].name, cluster.now)
    cluster.cut.clear()
    cluster.greet(follower, old)
    cluster.advance(400)
    token = cluster.submit(old, *[RED] * limit)
    cluster.advance(400)
    assert isinstance(cluster[old].resolved[token], Applied)


def test_the_bytes_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submissions, "OPEN_BYTES_LIMIT", 3 * len(RED))
    cluster = DriverCluster(*ABC)
    cluster.submit("a", *[RED] * 3)
    assert not cluster["a"].resolved
    one_more = cluster.submit("a", RED)
    assert cluster["a"].resolved == {one_more: Refused("overloaded")}
    cluster.elect()
    assert len(cluster["a"].resolved) == 4
    cluster.submit("a", *[RED] * 3)
    assert [type(outcome) for outcome in cluster["a"].resolved.values()].count(Applied) == 6


def test_a_command_that_nobody_could_apply_is_refused_before_the_log() -> None:
    cluster = DriverCluster("a")
    cluster.elect()
    last = cluster["a"].driver.status(cluster.now).last_index
    for command in (b"no command at all", b"\x93\xa3put\xa1\xff\xc4\x011", encode(Replace(b'{"a"'))):
        token = cluster.submit("a", command)
        assert cluster["a"].resolved[token] == Refused("malformed")
    assert cluster["a"].driver.status(cluster.now).last_index == last


def test_patches_that_take_long_are_applied_in_several_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = DriverCluster("a")
    cluster.elect()
    driver = cluster["a"].driver
    patches = [encode(Patch(b'{"k":{"x":%d}}' % number)) for number in range(4)]
    portions = []
    has_applied = driver._has_applied

    def noted(consensus: Consensus, index: Index, term: Term) -> None:
        portions.append(index)
        has_applied(consensus, index, term)

    monkeypatch.setattr(driver, "_has_applied", noted)
    cluster.submit("a", encode(Put("k", b"{}")), *patches, encode(Put("l", b"1")))
    together, portions = portions, []
    monkeypatch.setattr(driver_of_node, "LOOKED_THROUGH_AT_ONCE", 1)
    last = cluster.submit("a", encode(Put("k", b"{}")), *patches, encode(Put("l", b"1")))
    assert len(together) == 1
    assert portions == [together[0] + number for number in (2, 3, 4, 5, 6)]
    assert cluster["a"].resolved[last] == Applied(together[0] + 6, True)
    assert cluster["a"].document.get("k") == (b'{"x":3}', together[0] + 5)


def test_a_leaders_snapshot_takes_the_place_of_what_was_yet_to_be_applied() -> None:
    cluster = DriverCluster("a")
    driver = cluster["a"].driver
    driver._to_apply = (Entry(Index(2), Term(1), EntryKind.COMMAND, encode(Put("k", b"1"))),)
    mark = SnapshotMark(Index(9), Term(1), Membership(()), 100, 0)
    driver._take(msgspec.structs.replace(NO_OUTPUT, install=mark), Actions(), cluster.now)
    assert driver._to_apply == ()


def test_a_command_that_this_release_cannot_read_ends_the_process() -> None:
    """It stands in the log: a newer release wrote it."""
    cluster = DriverCluster(*ABC)
    follower = cluster.others(cluster.elect())[0]
    held = cluster[follower]
    status = held.driver.status(cluster.now)
    entry = Entry(Index(status.last_index + 1), status.term, EntryKind.COMMAND, b"of the future")
    leader = status.leader
    assert leader is not None
    append = AppendEntries(leader, held.name, status.term, 99, status.last_index, status.term, entry.index, (entry,))
    held.driver.receive(cluster[leader].driver.identity, [append], cluster.now)
    with pytest.raises(UnreadableCommand):
        cluster.settle()


# --------------------------------------------------------------------------------------------------------- forwarding


def test_a_followers_command_travels_one_hop_and_comes_back_as_its_result() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    follower = cluster.others(leader)[0]
    token = cluster.submit(follower, RED)
    result = cluster[follower].resolved[token]
    assert isinstance(result, Applied)
    assert cluster[leader].document.get("colour") == (b'"red"', result.revision)


def test_it_waits_while_the_leader_cannot_be_reached() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    follower = cluster[cluster.others(leader)[0]]
    follower.connected.clear()
    token = cluster.submit(follower.name, RED)
    assert token not in follower.resolved
    follower.connected.add(leader)
    cluster.advance(SETTINGS.heartbeat)
    assert isinstance(follower.resolved[token], Applied)


def test_who_does_not_lead_refuses_and_the_source_tries_again_a_little_later() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    follower, third = (cluster[name] for name in cluster.others(leader))
    cluster.hold_messages = True
    token = cluster.submit(follower.name, RED)
    ((_, _, forward),) = cluster.network
    assert isinstance(forward, Forward)
    cluster.network.clear()
    refusal = Forwarded(forward.destination, forward.source, forward.ticket, Refused("not-leader"))
    follower.driver.receive(cluster[leader].driver.identity, [refusal], cluster.now)
    cluster.settle()
    assert not cluster.network  # not at once: it would go round and round
    cluster.hold_messages = False
    cluster.advance(SETTINGS.heartbeat)
    assert isinstance(follower.resolved[token], Applied)

    misled = Forward(follower.name, third.name, 7, RED)  # one hop only: a third node does not pass it on
    third.driver.receive(follower.driver.identity, [misled], cluster.now)
    cluster.hold_messages = True
    cluster.settle()
    assert [message for _, _, message in cluster.network] == [
        Forwarded(third.name, follower.name, 7, Refused("not-leader"))
    ]


def test_a_lost_connection_leaves_what_travelled_unknown_and_is_not_sent_again() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    follower = cluster[cluster.others(leader)[0]]
    cluster.hold_messages = True
    token = cluster.submit(follower.name, RED)
    cluster.network.clear()
    follower.driver.lost(cluster[leader].name, cluster.now)
    cluster.settle()
    assert follower.resolved[token] == Unknown()
    cluster.hold_messages = False
    cluster.advance(3_000)
    assert all(held.document.get("colour") is None for held in cluster.nodes.values())


def test_an_answer_that_does_not_come_is_unknown_and_a_late_one_is_nobodys() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    follower = cluster[cluster.others(leader)[0]]
    cluster.hold_messages = True
    token = cluster.submit(follower.name, RED, patience=40)
    cluster.advance(40)
    assert follower.resolved == {token: Unknown()}
    follower.resolved.clear()
    cluster.hold_messages = False
    cluster.settle()
    assert cluster[leader].document.get("colour") is not None
    assert follower.resolved == {}


def test_only_the_leader_that_was_asked_may_answer() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    follower, third = (cluster[name] for name in cluster.others(leader))
    cluster.hold_messages = True
    token = cluster.submit(follower.name, RED)
    ((_, _, forward),) = cluster.network
    assert isinstance(forward, Forward)
    lie = Forwarded(third.name, follower.name, forward.ticket, Applied(1, False))
    follower.driver.receive(third.driver.identity, [lie], cluster.now)
    cluster.settle()
    assert token not in follower.resolved


def test_a_forward_that_the_transport_brings_twice_takes_effect_once() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    follower = cluster[cluster.others(leader)[0]]
    last = cluster[leader].driver.status(cluster.now).last_index
    forward = Forward(follower.name, cluster[leader].name, 7, RED)
    for _ in range(2):
        cluster[leader].driver.receive(follower.driver.identity, [forward], cluster.now)
        cluster.settle()
    assert cluster[leader].driver.status(cluster.now).last_index == last + 1


def test_a_forward_that_comes_again_after_it_was_forgotten_does_not_take_effect_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submissions, "_TICKETS_REMEMBERED", 2)
    cluster = DriverCluster(*ABC)
    leader = cluster[cluster.elect()]
    follower = cluster[cluster.others(leader.name)[0]]
    last = leader.driver.status(cluster.now).last_index
    for ticket in (7, 8, 9, 7, 8):
        forward = Forward(follower.name, leader.name, ticket, RED)
        leader.driver.receive(follower.driver.identity, [forward], cluster.now)
        cluster.settle()
    assert leader.driver.status(cluster.now).last_index == last + 3


def test_whoever_comes_back_under_the_name_of_a_former_member_may_begin_with_lower_tickets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(submissions, "_TICKETS_REMEMBERED", 2)
    cluster = DriverCluster(*ABC)
    cluster.cut.add("d")  # there is none, but for what is said in its name
    leader = cluster[cluster.elect()]
    last = leader.driver.status(cluster.now).last_index
    for boot, tickets in (("before", (107, 108, 109, 110)), ("after", (7,))):
        former = msgspec.structs.replace(leader.driver.identity, member=member("d"), boot=BootId(boot))
        former = msgspec.structs.replace(former, incarnation=Incarnation(boot))
        leader.driver.greet(msgspec.structs.replace(leader.driver.hello(), identity=former), cluster.now)
        cluster.settle()
        for ticket in tickets:
            leader.driver.receive(former, [Forward(member("d"), leader.name, ticket, RED)], cluster.now)
            cluster.settle()
        leader.driver.lost(member("d"), cluster.now)
    assert leader.driver.status(cluster.now).last_index == last + 5


def test_a_forward_to_a_process_that_was_replaced_is_not_sent_to_the_next_one() -> None:
    """The new process knows nothing of it, and the old one may have committed it."""
    cluster = DriverCluster(*ABC)
    leader = cluster[cluster.elect()]
    follower = cluster[cluster.others(leader.name)[0]]
    cluster.hold_messages = True
    token = cluster.submit(follower.name, RED)
    assert token not in follower.resolved
    identity = leader.driver.identity
    again = msgspec.structs.replace(identity, generation=Generation(identity.generation + 1), boot=BootId("again"))
    hello = msgspec.structs.replace(leader.driver.hello(), identity=again)
    follower.driver.greet(hello, cluster.now)
    cluster.settle()
    assert follower.resolved[token] == Unknown()


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (b"no command at all", "malformed"),
        (encode(Put("k", b"{not json")), "malformed"),
        (encode(Replace(b"{not json")), "malformed"),
        (b"\x93\xa3put\xa1\xff\xc4\x011", "malformed"),
        (b"\x94\xa3put\xa1k\xc4\x011" + b"\x91" * 2000 + b"\xc0", "malformed"),
        (encode(Replace(b'  {"a":1}')), "malformed"),
        (encode(Put("k", b'"' + b"x" * LARGEST + b'"')), "too-large"),
    ],
)
def test_a_peers_command_that_would_end_every_member_never_enters_the_log(command: bytes, kind: str) -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster[cluster.elect()]
    follower = cluster[cluster.others(leader.name)[0]]
    last = leader.driver.status(cluster.now).last_index
    cluster.hold_messages = True
    leader.driver.receive(follower.driver.identity, [Forward(follower.name, leader.name, 7, command)], cluster.now)
    cluster.settle()
    assert cluster.network[0][2] == Forwarded(leader.name, follower.name, 7, Refused(kind))
    assert leader.driver.status(cluster.now).last_index == last


# ------------------------------------------------------------------------------------------------------- what is told


def test_caught_up_once_the_leaders_commit_is_applied_and_not_before() -> None:
    cluster = DriverCluster(*ABC)
    assert not any(held.driver.caught_up for held in cluster.nodes.values())
    cluster.cut.add("c")
    leader = cluster.elect()
    cluster.submit(leader, RED)
    cluster.advance(200)
    assert not cluster["c"].driver.caught_up
    cluster["c"].disk_ends = False
    cluster.cut.clear()
    cluster.advance(100)
    assert not cluster["c"].driver.caught_up
    cluster["c"].disk_ends = True
    cluster.advance(400)
    assert all(held.driver.caught_up for held in cluster.nodes.values())


def test_a_member_that_starts_again_catches_up_also_where_nobody_writes() -> None:
    cluster = DriverCluster(*ABC)
    follower = cluster.others(cluster.elect())[0]
    cluster.advance(200)
    cluster.restart(follower)
    cluster.advance(400)
    assert cluster[follower].driver.caught_up


def test_status_counts_the_time_without_a_leader() -> None:
    cluster = DriverCluster(*ABC)
    cluster.cut.update(ABC)
    cluster.advance(1_500)
    assert cluster["a"].driver.status(cluster.now).leaderless_ms == 1_500
    cluster.cut.clear()
    leader = cluster.elect()
    status = cluster[leader].driver.status(cluster.now)
    assert status.leaderless_ms == 0
    assert status.established
    assert 0 < status.quorum_left_ms <= 200
    assert status.voters == ABC


def test_elections_are_told_in_sentences() -> None:
    cluster = DriverCluster(*ABC)
    leader = cluster.elect()
    said = [note for actions in cluster[leader].history for note in actions.notes]
    assert f"{leader} is elected leader in term 1" in said
    heard = [note for actions in cluster[cluster.others(leader)[0]].history for note in actions.notes]
    assert f"{leader} leads in term 1" in heard
