"""The witness's keeper against an API with weather: births that race, and what is remembered of them. Its rules are
tested in `test_witness.py`."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fake_kube_api import FakeKubeApi

from raftq_k8s.kube.client import ApiClient, ApiConfig
from raftq_k8s.kube.label import Workload
from raftq_k8s.kube.witness_keeper import Times, WitnessKeeper
from raftq_k8s.raft.birth import Birth, BirthRule, Doubtful, Testimony, Vacant, lowest
from raftq_k8s.raft.membership import BirthRecord, Hello, Identity, Member
from raftq_k8s.raft.types import BootId, ClusterId, Generation, Incarnation, MemberId, Term

NAMES = tuple(MemberId(f"raftq-{ordinal}") for ordinal in range(3))
HEEDED = BirthRule(NAMES, NAMES[0], witness="heeded")
DECIDES = BirthRule(NAMES, None, witness="decides")
WITNESS = "raftq-birth"
FAST = Times(poll=0.002, settle=0.0, look=0.01, patience=0.2, check=60, retry=0.01)


def identity(name: str) -> Identity:
    return Identity(None, MemberId(name), Incarnation(f"volume-{name}"), Generation(1), BootId("boot"))


class SimulatedNode:
    """Blank as the real one is, and then whatever a test says."""

    def __init__(self, name: str, rule: BirthRule) -> None:
        self.blank = Birth(identity(name), rule, ClusterId(f"by-{name}"), Term(1))
        self.term: Term | None = None
        self.silent = False
        self.former: ClusterId | None = None
        self.told: list[Testimony] = []

    def meets(self, *names: str) -> None:
        for name in names:
            self.blank.greet(Hello(1, 1, identity(name), None, ""))

    def belongs_to(self, record: BirthRecord) -> None:
        self.blank.record = record

    def birth(self) -> BirthRecord | None:
        return self.blank.record

    def wish(self) -> BirthRecord | None:
        return self.blank.wish

    def recovered_from(self) -> ClusterId | None:
        return self.former

    def leads(self) -> Term | None:
        return self.term

    def is_silent(self) -> bool:
        return self.silent

    def witnessed(self, testimony: Testimony) -> None:
        self.told.append(testimony)
        self.blank.witnessed(testimony)


class Kept:
    """A node, its keeper, and the task that runs it."""

    def __init__(
        self, url: str, name: str, rule: BirthRule, times: Times = FAST, recovered_from: ClusterId | None = None
    ) -> None:
        self.node = SimulatedNode(name, rule)
        self.node.former = recovered_from
        self.joined: list[ClusterId] = []
        self.client = ApiClient(ApiConfig(url, "test"), total_s=0.2)
        workload = Workload("raftq", "app=raftq")
        self.keeper = WitnessKeeper(self.client, self.node, rule, workload, self.joined.append, times=times)
        self.task: asyncio.Task[None] | None = None

    def start(self) -> "Kept":
        self.task = asyncio.create_task(self.keeper.run())
        return self

    async def end(self) -> None:
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
        await self.client.close()


Make = Callable[..., Kept]


@pytest.fixture
async def api() -> AsyncIterator[FakeKubeApi]:
    async with FakeKubeApi() as fake:
        fake.create_config_map(WITNESS)
        yield fake


@pytest.fixture
async def kept(api: FakeKubeApi) -> AsyncIterator[Make]:
    made: list[Kept] = []

    def make(name: str, rule: BirthRule, **more: Any) -> Kept:
        made.append(Kept(more.pop("url", api.url), name, rule, **more))
        return made[-1]

    yield make
    for each in made:
        await each.end()


def data(api: FakeKubeApi) -> dict[str, str]:
    found: dict[str, str] = api.config_maps[WITNESS].get("data", {})
    return found


def record(cluster: str = "mine", first_term: int = 1) -> BirthRecord:
    members = tuple(Member(name, Incarnation(f"volume-{name}")) for name in NAMES)
    return BirthRecord(ClusterId(cluster), members, Term(first_term))


def says(node: Kept, text: str) -> Callable[[], bool]:
    return lambda: text in node.node.blank.waiting_for


def has_looked(api: FakeKubeApi, times: int = 2) -> Callable[[], bool]:
    """From now on."""
    before = len(api.statuses("GET"))
    return lambda: len(api.statuses("GET")) >= before + times


# --------------------------------------------------------------------------------------------- the witness decides


async def test_of_several_candidates_the_api_picks_one_and_all_adopt_it(api: FakeKubeApi, kept: Make) -> None:
    candidates = [kept(name, DECIDES) for name in NAMES]
    for candidate, name in zip(candidates, NAMES, strict=True):
        candidate.node.meets(*(other for other in NAMES if other != name))
        candidate.start()
    await api.until(lambda: all(candidate.node.birth() for candidate in candidates))
    records = {candidate.node.birth() for candidate in candidates}
    assert len(records) == 1
    assert data(api)["cluster"] in {each.cluster for each in records if each}
    assert api.statuses("PATCH").count(200) == 1


async def test_the_loser_reads_who_won_and_adopts_that(api: FakeKubeApi, kept: Make) -> None:
    one, other = kept("raftq-0", DECIDES), kept("raftq-1", DECIDES)
    one.node.meets("raftq-1")
    other.node.meets("raftq-0")
    raced = asyncio.Event()

    def in_between(request: Any, body: Any) -> None:
        """The winner writes after the other has read and before it writes."""
        if request.method == "PATCH" and not raced.is_set():
            raced.set()
            theirs = {
                "cluster": "by-raftq-1",
                "birth": json.dumps({"members": {"raftq-0": "volume-raftq-0", "raftq-1": "x"}, "firstTerm": 1}),
                "term": "1",
            }
            api.config_maps[WITNESS]["data"] = theirs
            api.config_maps[WITNESS]["metadata"]["resourceVersion"] = "9999"

    api.before = in_between
    one.start()
    await api.until(one.node.birth)
    assert api.statuses("PATCH") == [409]
    born = one.node.birth()
    assert born is not None
    assert born.cluster == "by-raftq-1"


async def test_a_candidate_that_is_not_named_by_the_winner_founds_nothing(api: FakeKubeApi, kept: Make) -> None:
    first = kept("raftq-0", DECIDES)
    first.node.meets("raftq-1")
    first.start()
    await api.until(first.node.birth)
    late = kept("raftq-2", DECIDES)
    late.node.meets("raftq-1")
    late.start()
    await api.until(has_looked(api))
    assert late.node.birth() is None
    assert api.statuses("PATCH") == [200]


async def test_a_write_whose_answer_was_lost_counts_when_it_shows(api: FakeKubeApi, kept: Make) -> None:
    one = kept("raftq-0", DECIDES)
    one.node.meets("raftq-1")

    def hang_up_on_writes(request: Any, body: Any) -> None:
        api.lose_answers = request.method == "PATCH"

    api.before = hang_up_on_writes
    one.start()
    await api.until(one.node.birth)
    assert api.statuses("PATCH") == [200], "it was not written a second time"
    born = one.node.birth()
    assert born is not None
    assert born.cluster == data(api)["cluster"]


async def test_a_write_that_arrives_after_another_has_won_changes_nothing(api: FakeKubeApi, kept: Make) -> None:
    slow = kept("raftq-0", DECIDES)
    slow.node.meets("raftq-1", "raftq-2")
    api.refuse = lambda request: 503 if request.method == "PATCH" else None
    slow.start()
    await api.until(lambda: api.statuses("PATCH"))
    await slow.end()  # it is killed; nothing was written yet, and its last write travels on
    api.refuse = lambda request: None
    winner = kept("raftq-1", DECIDES)
    winner.node.meets("raftq-0", "raftq-2")
    held: list[dict[str, Any]] = []
    api.before = lambda request, body: held.append(body) if request.method == "PATCH" else None
    winner.start()
    await api.until(winner.node.birth)
    won = dict(data(api))
    late = Kept(api.url, "raftq-0", DECIDES)
    with contextlib.suppress(Exception):
        await late.client.patch_config_map(WITNESS, {**held[0], "data": {"cluster": "late"}})
    await late.end()
    assert api.statuses("PATCH")[-1] == 409
    assert data(api) == won


async def test_a_winner_that_crashed_before_it_kept_the_record_finds_it_again(api: FakeKubeApi, kept: Make) -> None:
    winner = kept("raftq-0", DECIDES)
    winner.node.meets("raftq-1")
    winner.start()
    await api.until(winner.node.birth)
    again = kept("raftq-0", DECIDES)
    again.start()  # alone, and blank
    await api.until(again.node.birth)
    assert again.node.birth() == winner.node.birth()


async def test_a_majority_waits_a_little_for_the_others_and_not_for_ever(api: FakeKubeApi, kept: Make) -> None:
    together = kept("raftq-0", DECIDES, times=Times(poll=0.002, settle=60.0, look=0.01))
    together.node.meets("raftq-1")
    together.start()
    await api.until(has_looked(api, 3))
    assert data(api) == {}
    together.node.meets("raftq-2")
    await api.until(together.node.birth)
    assert len(json.loads(data(api)["birth"])["members"]) == 3
    await together.end()

    api.create_config_map(WITNESS)
    alone = kept("raftq-0", DECIDES, times=Times(poll=0.002, settle=0.05, look=60.0))
    alone.node.meets("raftq-1")
    alone.start()
    await api.until(alone.node.birth)
    assert len(json.loads(data(api)["birth"])["members"]) == 2


async def test_a_change_of_the_object_that_names_nobody_only_costs_a_try(api: FakeKubeApi, kept: Make) -> None:
    one = kept("raftq-0", DECIDES)
    one.node.meets("raftq-1")

    def annotated_meanwhile(request: Any, body: Any) -> None:
        if request.method == "PATCH" and len(api.patches) < 2:
            api.config_maps[WITNESS]["metadata"]["resourceVersion"] = f"9{len(api.patches)}"

    api.before = annotated_meanwhile
    one.start()
    await api.until(one.node.birth)
    assert api.statuses("PATCH") == [409, 409, 200]


async def test_a_witness_that_changes_all_the_time_decides_nothing_yet(api: FakeKubeApi, kept: Make) -> None:
    one = kept("raftq-0", DECIDES)
    one.node.meets("raftq-1")
    api.refuse = lambda request: 409 if request.method == "PATCH" else None
    one.start()
    await api.until(says(one, "written by somebody else all the time"))
    api.refuse = lambda request: None
    await api.until(one.node.birth)


@pytest.mark.parametrize("status", [401, 403, 422, 500, 503])
async def test_nothing_is_born_while_the_api_refuses_or_fails(api: FakeKubeApi, kept: Make, status: int) -> None:
    one = kept("raftq-0", DECIDES)
    one.node.meets("raftq-1", "raftq-2")
    api.refuse = lambda request: status
    one.start()
    await api.until(says(one, f"nothing is born while the ConfigMap {WITNESS} does not decide"))
    assert one.node.birth() is None
    api.refuse = lambda request: None
    await api.until(one.node.birth)


async def test_a_right_to_read_alone_lets_nobody_be_born(api: FakeKubeApi, kept: Make) -> None:
    one = kept("raftq-0", DECIDES)
    one.node.meets("raftq-1")
    api.refuse = lambda request: 403 if request.method == "PATCH" else None
    one.start()
    await api.until(says(one, "403"))
    assert (one.node.birth(), data(api)) == (None, {})


async def test_without_the_config_map_nothing_is_born_until_it_is_there(api: FakeKubeApi, kept: Make) -> None:
    del api.config_maps[WITNESS]
    one = kept("raftq-0", DECIDES)
    one.node.meets("raftq-1")
    one.start()
    await api.until(says(one, "404"))
    assert one.node.birth() is None
    api.create_config_map(WITNESS)
    await api.until(one.node.birth)


async def test_the_first_term_is_above_those_on_the_pods_and_in_the_witness(api: FakeKubeApi, kept: Make) -> None:
    api.create_config_map(WITNESS, term="12")
    api.create("raftq-1", term=40)
    api.create("raftq-2", term=7)
    api.create("other-0", term=99, ownerReferences=[])
    one = kept("raftq-0", DECIDES)
    one.node.meets("raftq-1")
    one.start()
    await api.until(one.node.birth)
    born = one.node.birth()
    assert born is not None
    assert (born.first_term, data(api)["term"]) == (41, "41")


async def test_pods_that_may_not_be_read_have_no_terms(api: FakeKubeApi, kept: Make) -> None:
    api.create_config_map(WITNESS, term="12")
    api.refuse = lambda request: 403 if request.path.endswith("/pods") else None
    one = kept("raftq-0", DECIDES)
    one.node.meets("raftq-1")
    one.start()
    await api.until(one.node.birth)
    assert data(api)["term"] == "13"


# --------------------------------------------------------------------------------------- the lowest founds, and heeds


async def test_the_founder_writes_nothing_and_founds_while_it_is_vacant(api: FakeKubeApi, kept: Make) -> None:
    api.create("raftq-2", term=7)
    founder = kept("raftq-0", HEEDED)
    founder.node.meets("raftq-1")
    founder.start()
    await api.until(has_looked(api))
    assert founder.node.birth() is None
    founder.node.meets("raftq-2")
    await api.until(founder.node.birth)
    born = founder.node.birth()
    assert born is not None
    assert born.first_term == 8
    assert api.patches == []


@pytest.mark.parametrize("rule", [HEEDED, DECIDES])
@pytest.mark.parametrize("name", NAMES)
async def test_when_all_volumes_are_lost_everybody_says_so_and_a_person_decides(
    api: FakeKubeApi, kept: Make, rule: BirthRule, name: str
) -> None:
    api.create_config_map(WITNESS, cluster="lost", birth='{"members":{"raftq-0":"former"},"firstTerm":1}', term="30")
    one = kept(name, rule)
    one.node.meets(*(other for other in NAMES if other != name))
    one.start()
    await api.until(says(one, "names cluster lost, but the volumes here are empty"))
    await api.until(has_looked(api))
    assert one.node.birth() is None
    await one.client.patch_config_map(WITNESS, {"metadata": {}, "data": {"cluster": None}})  # as the sentence says
    if name == "raftq-0" or rule is DECIDES:
        await api.until(one.node.birth)
        born = one.node.birth()
        assert born is not None
        assert born.first_term == 31
    else:
        await api.until(says(one, "waiting to hear of a cluster from raftq-0"))


async def test_garbage_in_the_witness_keeps_a_founder_from_founding(api: FakeKubeApi, kept: Make) -> None:
    api.create_config_map(WITNESS, cluster="mine", birth="garbage")
    founder = kept("raftq-0", HEEDED)
    founder.node.meets("raftq-1", "raftq-2")
    founder.start()
    await api.until(says(founder, "cannot be understood"))
    await api.until(has_looked(api))
    assert founder.node.birth() is None
    await founder.client.patch_config_map(WITNESS, {"metadata": {}, "data": None})
    await api.until(founder.node.birth)


@pytest.mark.parametrize("status", [401, 403, 404, 422])
async def test_a_founder_goes_on_without_a_witness_that_it_may_not_read(
    api: FakeKubeApi, kept: Make, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    api.create("raftq-1", term=5)
    api.refuse = lambda request: status if "configmaps" in request.path else None
    founder = kept("raftq-0", HEEDED)
    founder.node.meets("raftq-1", "raftq-2")
    founder.start()
    await api.until(founder.node.birth)
    born = founder.node.birth()
    assert born is not None
    assert born.first_term == 6, "the pods may be read nevertheless"
    assert caplog.text.count("goes on without") == 1


async def test_a_founder_waits_a_while_for_an_api_that_is_away_and_not_for_ever(kept: Make, api: FakeKubeApi) -> None:
    away = kept("raftq-0", HEEDED, url="http://127.0.0.1:9", times=Times(poll=0.002, look=0.01, patience=60.0))
    away.node.meets("raftq-1", "raftq-2")
    away.start()
    await api.until(says(away, "waiting 60 s at most"))
    assert away.node.birth() is None
    hasty = kept("raftq-0", HEEDED, url="http://127.0.0.1:9")
    hasty.node.meets("raftq-1", "raftq-2")
    hasty.start()
    await api.until(hasty.node.birth)


async def test_the_wait_for_an_api_begins_anew_with_each_answer(api: FakeKubeApi, kept: Make) -> None:
    founder = kept("raftq-0", HEEDED, times=Times(poll=0.002, look=0.005, patience=0.3))
    api.refuse = lambda request: 503
    founder.start()
    founder.node.meets("raftq-1")
    await api.until(lambda: founder.node.told)
    began = asyncio.get_running_loop().time()
    api.refuse = lambda request: None
    await api.until(lambda: isinstance(founder.node.told[-1], Vacant))
    await api.until(lambda: asyncio.get_running_loop().time() > began + 0.35)
    api.refuse = lambda request: 503
    founder.node.meets("raftq-2")
    await api.until(lambda: isinstance(founder.node.told[-1], Doubtful))
    assert founder.node.birth() is None
    await api.until(founder.node.birth)


async def test_a_blank_node_asks_at_once_when_it_could_found_and_then_no_more_often_than_it_should(
    api: FakeKubeApi, kept: Make
) -> None:
    api.create_config_map(WITNESS, cluster="lost", birth='{"members":{"raftq-0":"former"},"firstTerm":1}')
    one = kept("raftq-0", DECIDES, times=Times(poll=0.002, settle=0.0, look=60.0))
    one.start()
    await api.until(lambda: len(one.node.told) == 1)
    one.node.meets("raftq-1")
    await api.until(lambda: len(one.node.told) == 2)
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert len(one.node.told) == 2
    one.node.meets("raftq-2")
    await api.until(lambda: len(one.node.told) == 3)


async def test_an_api_that_comes_back_in_time_is_heeded(api: FakeKubeApi, kept: Make) -> None:
    api.create_config_map(WITNESS, cluster="lost", birth='{"members":{"raftq-0":"former"},"firstTerm":1}')
    api.refuse = lambda request: 503
    founder = kept("raftq-0", HEEDED, times=Times(poll=0.002, look=0.01, patience=60.0))
    founder.node.meets("raftq-1", "raftq-2")
    founder.start()
    await api.until(says(founder, "503"))
    api.refuse = lambda request: None
    await api.until(says(founder, "names cluster lost"))
    assert founder.node.birth() is None


# --------------------------------------------------------------------------------------------------- what is remembered


async def test_a_leader_fills_an_empty_witness_and_raises_its_term_with_each_election(
    api: FakeKubeApi, kept: Make
) -> None:
    leader = kept("raftq-1", lowest(NAMES))
    leader.node.belongs_to(record())
    leader.node.term = Term(3)
    leader.start()
    await api.until(lambda: data(api).get("term") == "3")
    assert data(api)["cluster"] == "mine"
    leader.node.term = Term(6)
    await api.until(lambda: data(api)["term"] == "6")
    assert api.statuses("PATCH") == [200, 200]


async def test_in_steady_state_nothing_is_asked_or_written(api: FakeKubeApi, kept: Make) -> None:
    leader, follower = kept("raftq-1", lowest(NAMES)), kept("raftq-2", lowest(NAMES))
    for each in (leader, follower):
        each.node.belongs_to(record())
        each.start()
    leader.node.term = Term(3)
    await api.until(lambda: len(api.statuses("GET")) == 2)
    for _ in range(50):
        await asyncio.sleep(0.002)
    assert (len(api.statuses("GET")), len(api.statuses("PATCH"))) == (2, 1)


async def test_a_leader_looks_again_now_and_then(api: FakeKubeApi, kept: Make) -> None:
    leader = kept("raftq-1", lowest(NAMES), times=Times(poll=0.002, check=0.02))
    leader.node.belongs_to(record())
    leader.node.term = Term(3)
    leader.start()
    await api.until(lambda: data(api).get("cluster") == "mine")
    api.create_config_map(WITNESS)  # somebody deleted it and made it anew
    await api.until(lambda: data(api).get("cluster") == "mine")


@pytest.mark.parametrize("status", [403, 404, 500])
async def test_what_could_not_be_filled_is_filled_when_the_api_allows_it(
    api: FakeKubeApi, kept: Make, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    leader = kept("raftq-1", lowest(NAMES))
    leader.node.belongs_to(record())
    leader.node.term = Term(3)
    api.refuse = lambda request: status
    leader.start()
    await api.until(lambda: len(api.requests) >= 4)
    api.refuse = lambda request: None
    await api.until(lambda: data(api).get("cluster") == "mine")
    assert caplog.text.count("is not kept") == 1


async def test_a_deposed_leader_does_not_write_what_it_decided_before(api: FakeKubeApi, kept: Make) -> None:
    leader = kept("raftq-1", lowest(NAMES))
    leader.node.belongs_to(record())
    leader.node.term = Term(3)

    def deposed(request: Any, body: Any) -> None:
        leader.node.term = None

    api.before = deposed
    leader.start()
    await api.until(lambda: api.statuses("GET"))
    for _ in range(20):
        await asyncio.sleep(0.002)
    assert api.patches == []


async def test_another_cluster_in_the_witness_is_said_once_and_left_there(
    api: FakeKubeApi, kept: Make, caplog: pytest.LogCaptureFixture
) -> None:
    api.create_config_map(WITNESS, cluster="other", birth='{"members":{"raftq-0":"former"},"firstTerm":1}')
    leader = kept("raftq-1", lowest(NAMES), times=Times(poll=0.002, check=0.01))
    leader.node.belongs_to(record())
    leader.node.term = Term(3)
    leader.start()
    await api.until(has_looked(api, 4))
    assert data(api)["cluster"] == "other"
    assert caplog.text.count("names cluster other, and this is the leader of cluster mine") == 1


async def test_a_recovered_cluster_is_written_and_members_of_the_old_one_join_it_when_nobody_leads(
    api: FakeKubeApi, kept: Make
) -> None:
    former = kept("raftq-2", lowest(NAMES), times=Times(poll=0.002, check=0.01))
    former.node.belongs_to(record("old"))
    former.node.term = Term(3)
    former.start()
    await api.until(lambda: data(api).get("cluster") == "old")
    former.node.term = None
    survivor = kept("raftq-0", lowest(NAMES), recovered_from=ClusterId("old"))
    survivor.node.belongs_to(record("new", 1003))
    survivor.start()
    await api.until(lambda: data(api)["cluster"] == "new")
    assert (data(api)["former"], data(api)["term"]) == ("old", "1003")
    assert former.joined == [], "somebody may lead its own cluster"
    former.node.silent = True
    await api.until(lambda: former.joined)
    assert set(former.joined) == {"new"}
