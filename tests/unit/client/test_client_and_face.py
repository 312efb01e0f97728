"""The client before the real HTTP face of a real node: both mean the same by every path, header and problem."""

import pytest

from raftq_k8s.api.authorization import Guard, TokenFile
from raftq_k8s.api.server import HttpFace
from raftq_k8s.client import (
    Change,
    Changed,
    Client,
    Compacted,
    Condition,
    Delete,
    Denied,
    NotAnObject,
    NotAsExpected,
    Patch,
    Presence,
    Put,
    Refused,
    Replace,
    Role,
)
from raftq_k8s.node.options import RaftqOptions
from raftq_k8s.node.raftq import Raftq
from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage.memory import MemoryVolume


@pytest.fixture
async def node():
    node = Raftq(RaftqOptions(bootstrap=True), volume=MemoryVolume(MemberId("a-0")))
    await node.dispatch("serviceStarted", {"node": {"id": "a-0", "time": 1}})
    yield node
    await node.destroy()


@pytest.fixture
async def face(node):
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    await face.start()
    yield face
    await face.close()


@pytest.fixture
async def client(face):
    async with Client([f"127.0.0.1:{face.port}"]) as client:
        yield client


async def test_values_and_revisions_come_back_as_they_were_put(client):
    for key, value in (("a/b", {"n": [1, None]}), ("..", "grün"), ("?", 2.5)):
        written = await client.put(key, value)
        found = await client.get(key, consistency="lease")
        assert (found.value, found.revision, written.existed) == (value, written.revision, False)
    assert (await client.put("?", 3)).existed
    assert await client.get("nothing") is None
    assert (await client.whole(consistency="local")).value == {"a/b": {"n": [1, None]}, "..": "grün", "?": 3}


async def test_conditions_hold_or_say_what_there_is(client):
    first = await client.put("a", 1, if_revision=Presence.ABSENT)
    with pytest.raises(NotAsExpected) as raised:
        await client.put("a", 2, if_revision=0)
    assert raised.value.found == first.revision
    second = await client.put("a", 2, if_revision=first.revision)
    with pytest.raises(NotAsExpected):
        await client.delete("a", if_revision=first.revision)
    with pytest.raises(NotAsExpected):
        await client.put("b", 1, if_revision=Presence.PRESENT)
    assert await client.delete("a", if_revision=second.revision)
    assert not await client.delete("a")


async def test_a_transaction_is_all_or_nothing(client):
    await client.replace({"a": 1, "b": 2})
    done = await client.transact(
        [Put("c", 3), Delete("a")], [Condition("c", Presence.ABSENT), Condition("a", Presence.PRESENT)]
    )
    assert (done.existed, (await client.whole()).revision) == ((False, True), done.revision)
    with pytest.raises(NotAsExpected) as raised:
        await client.transact([Replace({})], [Condition("b", Presence.PRESENT), Condition(None, 1)])
    assert raised.value.condition == 1
    await client.transact([Patch({"b": None})])
    assert (await client.whole()).value == {"c": 3}


async def test_keys_are_listed_by_prefix_with_the_revision_to_watch_from(client):
    put = await client.put("p/a", 1)
    last = await client.put("q", 2)
    listed = await client.keys("p/")
    assert {key: (at.value, at.revision) for key, at in listed.keys.items()} == {"p/a": (1, put.revision)}
    assert listed.revision == last.revision


async def test_a_document_that_is_no_object_has_no_keys(client):
    await client.replace([1, 2])
    for refused in (client.get("a"), client.put("a", 1), client.keys()):
        with pytest.raises(NotAnObject):
            await refused


async def test_what_is_no_document_is_refused(client):
    with pytest.raises(Refused) as raised:
        await client.put("k" * 600, 1)
    assert raised.value.problem.status == 414


async def test_writes_in_a_session_take_effect_and_it_is_given_back(client, node):
    async with client.session() as session:
        await session.put("a", 1)
        assert await session.delete("a")
        assert not await session.delete("a")
        await session.patch({"b": 1})
        assert (await session.transact([Put("c", 2)])).existed == (False,)
    assert (await client.whole()).value == {"b": 1, "c": 2}


async def test_each_write_is_watched_as_one_change(client):
    whole = await client.whole()
    one = await client.put("w/a", 1)
    await client.put("other", 1)
    two = await client.transact([Put("w/b", None), Delete("w/a")])
    three = await client.replace({"w/c": 1, "other": 2})
    watch = client.watch(whole.revision, prefix="w/")
    assert [await anext(watch) for _ in range(3)] == [
        Changed(one.revision, (Change("w/a", b"1"),)),
        Changed(two.revision, (Change("w/b", b"null"), Change("w/a", None))),
        Changed(three, (Change(None, b'{"w/c":1}'),)),
    ]
    four = await client.put("w/d", 1)
    assert (await anext(watch)).revision == four.revision
    await watch.aclose()


async def test_a_watch_goes_on_at_another_face(client, face, node):
    other = HttpFace(node, "127.0.0.1", 0, version="9.9.9")
    await other.start()
    async with Client([f"127.0.0.1:{other.port}", f"127.0.0.1:{face.port}"]) as watcher:
        watch = watcher.watch((await client.whole()).revision)
        await client.put("a", 1)
        assert (await anext(watch)).changes[0].key == "a"
        await other.close()
        await client.put("b", 1)
        assert (await anext(watch)).changes[0].key == "b"
        await watch.aclose()


async def test_who_leads_is_told_with_its_token(client):
    leader = await client.leader()
    assert (leader.id, leader.is_me, leader.term >= 1) == ("a-0", True, True)
    watch = client.watch_leader()
    assert (await anext(watch)).term == leader.term
    await watch.aclose()


async def test_the_cluster_is_told_as_it_is(client):
    await client.leader()
    status = await client.status()
    assert (status.member, status.role, status.version, status.paused) == ("a-0", Role.LEADER, "9.9.9", None)
    [member] = await client.members()
    assert (member.name, member.kind, member.connected) == ("a-0", "voter", True)
    [first] = await client.history()
    assert (first.before, first.after, first.reason) == (None, "a-0", "first")


async def test_a_pause_lasts_until_it_is_ended(client):
    await client.pause("new disks")
    assert (await client.status()).paused == "new disks"
    await client.resume()
    assert (await client.status()).paused is None


async def test_what_cannot_be_done_says_why(client):
    for refused in (client.transfer(), client.transfer("b-1"), client.remove("b-1"), client.promote("b-1")):
        with pytest.raises(Refused):
            await refused


async def test_a_snapshot_comes_whole_with_what_it_is_of(client):
    put = await client.put("a", 1)
    async with client.snapshot() as snapshot:
        size = sum([len(piece) async for piece in snapshot.pieces])
    assert size > 0
    assert int(snapshot.headers["x-raftq-applied-index"]) >= put.revision


async def test_without_the_token_a_write_is_denied_and_a_read_is_not(node, tmp_path):
    file = tmp_path / "token"
    file.write_text("secret\n")
    face = HttpFace(node, "127.0.0.1", 0, version="9.9.9", guard=Guard(TokenFile(file)))
    await face.start()
    address = [f"127.0.0.1:{face.port}"]
    try:
        for token in (None, "wrong"):
            async with Client(address, token=token) as client:
                assert await client.get("a") is None
                with pytest.raises(Denied):
                    await client.put("a", 1)
        async with Client(address, token=file) as client:
            await client.put("a", 1)
    finally:
        await face.close()


async def test_changes_that_are_kept_no_more_are_compacted(client, node):
    for number in range(3):
        await client.put("a", number)
    node.journal.oldest = (await client.whole()).revision
    with pytest.raises(Compacted) as raised:
        await anext(client.watch(1))
    assert raised.value.oldest == node.journal.oldest
