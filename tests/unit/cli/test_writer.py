"""The ledger tells lost and doubled puts from those whose outcome was never known."""

import asyncio
import json
from typing import NamedTuple

import pytest

from raftq_k8s.cli.at_most_once import Answer, Unanswered, Unsent
from raftq_k8s.cli.writer import Client, Ledger, audit, first_accepted


class Entry(NamedTuple):
    value: int
    revision: int


class Member:
    """Holds a document as a member does; `fails_with` says what befalls the next puts instead."""

    name = "raftq-0"

    def __init__(self):
        self.document = {}
        self.revision = 0
        self.fails_with = []

    def connection(self):
        return self

    def close(self):
        pass

    def apply(self, key, value):
        self.revision += 1
        existed = key in self.document
        self.document[key] = Entry(value, self.revision)
        return existed

    async def request(self, method, path, body=b"", timeout_s=5.0):
        await asyncio.sleep(0)
        key = path.removeprefix("/v1/data/").removesuffix("?consistency=local")
        if method == "GET":
            entry = self.document[key]
            return Answer(200, {"etag": f'"{entry.revision}"'}, str(entry.value).encode())
        if self.fails_with:
            failure = self.fails_with.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return Answer(failure, {}, b"")
        existed = self.apply(key, int(body))
        return Answer(200 if existed else 201, {"etag": f'"{self.revision}"'}, b"")

    async def get(self, path):
        return Answer(200, {}, json.dumps({key: entry.value for key, entry in self.document.items()}).encode())


@pytest.fixture
def member():
    return Member()


@pytest.fixture
def ledger():
    return Ledger()


async def puts(member, ledger, count):
    client = Client(member, ledger)
    return [await client.put() for _ in range(count)]


async def test_every_put_has_a_key_of_its_own(member, ledger):
    assert await puts(member, ledger, 3) == [True, True, True]
    assert list(ledger.acknowledged) == list(member.document)
    assert len(member.document) == 3


@pytest.mark.parametrize("failure", [Unsent("no"), 503, 429])
async def test_a_put_that_did_nothing_is_refused(member, ledger, failure):
    member.fails_with = [failure]
    assert await puts(member, ledger, 2) == [False, True]
    assert (ledger.refused, ledger.unknown) == (1, 0)


@pytest.mark.parametrize("failure", [Unanswered("gone"), 504])
async def test_a_put_whose_outcome_is_unknown_is_counted_and_its_key_never_used_again(member, ledger, failure):
    member.fails_with = [failure]
    assert await puts(member, ledger, 2) == [False, True]
    assert (ledger.refused, ledger.unknown) == (0, 1)
    assert len(set(ledger.sent)) == 2


async def test_nothing_is_found_where_all_is_well(member, ledger):
    await puts(member, ledger, 40)
    findings = await audit([member], ledger)
    assert (findings.lost, findings.duplicates) == (set(), set())


async def test_an_unknown_put_may_be_there_or_not(member, ledger):
    member.fails_with = [504, 504]
    await puts(member, ledger, 3)
    member.apply(next(iter(ledger.sent)), 1)
    findings = await audit([member], ledger)
    assert (findings.lost, findings.duplicates) == (set(), set())


async def test_an_acknowledged_put_that_is_gone_is_lost(member, ledger):
    await puts(member, ledger, 3)
    key, _ = member.document.popitem()
    assert (await audit([member], ledger)).lost == {key}


async def test_an_acknowledged_put_with_another_value_is_lost(member, ledger):
    await puts(member, ledger, 3)
    key = next(iter(member.document))
    member.document[key] = member.document[key]._replace(value=-1)
    assert (await audit([member], ledger)).lost == {key}


async def test_a_put_applied_again_after_its_acknowledgement_shows_by_its_revision(member, ledger):
    await puts(member, ledger, 3)
    key = next(iter(member.document))
    member.apply(key, ledger.sent[key])
    findings = await audit([member], ledger)
    assert (findings.lost, findings.duplicates) == (set(), {key})


async def test_a_put_applied_before_its_acknowledgement_shows_by_having_found_itself(member, ledger):
    member.apply("put-0000001", 1)
    await puts(member, ledger, 1)
    assert (await audit([member], ledger)).duplicates == {"put-0000001"}


async def test_the_first_member_that_accepts_is_named(ledger):
    slow, quick = Member(), Member()
    slow.fails_with = [503] * 1000
    quick.fails_with = [503, 503]
    assert await first_accepted([slow, quick], ledger, 5.0) is quick


async def test_nobody_is_named_when_nobody_accepts(member, ledger):
    member.fails_with = [503] * 10_000
    assert await first_accepted([member], ledger, 0.05) is None
