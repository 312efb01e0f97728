"""The label's one task against an API with weather. Its rules are tested in `test_label.py`."""

import asyncio
import contextlib
import logging

import pytest
from fake_kube_api import FakeKubeApi

from raftq_k8s.kube.client import ApiClient, ApiConfig
from raftq_k8s.kube.label import Workload
from raftq_k8s.kube.labeller import Labeller, Times
from raftq_k8s.raft.output import Standing

FAST = Times(check=0.05, retry=0.005, retry_cap=0.02, refused=0.02, refused_cap=0.04, clear=0.3, release=0.3)
PATIENT = Times(check=60, retry=0.005, retry_cap=0.02, refused=60, refused_cap=60, clear=0.3, release=0.3)
VOTERS = ("raftq-0", "raftq-1", "raftq-2")


class SimulatedNode:
    def __init__(self):
        self._standing = Standing("follower", 0, None, False)
        self._changed = asyncio.Condition()
        self.quorum = True
        self.observed = []

    def standing(self):
        return self._standing

    async def next_standing(self, seen):
        async with self._changed:
            await self._changed.wait_for(lambda: self._standing != seen)
        return self._standing

    async def _become(self, standing):
        async with self._changed:
            self._standing = standing
            self._changed.notify_all()

    async def lead(self, term):
        await self._become(Standing("leader", term, "me", True))

    async def follow(self, term):
        await self._become(Standing("follower", term, None, False))

    def leads(self):
        return self.quorum

    def voters(self):
        return VOTERS

    def cluster(self):
        return "c"

    def observe_term(self, term):
        self.observed.append(term)


class Member:
    """A node, its labeller, and the task that runs it."""

    def __init__(self, api, name, times=FAST, uid=None):
        self.node = SimulatedNode()
        self.client = ApiClient(ApiConfig(api.url, "test"), total_s=0.2)
        self.lags = []
        self.deletions = []
        self.labeller = Labeller(
            self.client,
            self.node,
            Workload("raftq", "app=raftq"),
            name,
            uid,
            times=times,
            on_label_lag=self.lags.append,
            on_deletion=lambda: self.deletions.append(name),
        )
        self.task = None

    def start(self):
        self.task = asyncio.create_task(self.labeller.run())
        return self

    async def end(self):
        if self.task:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task
        await self.client.close()


@pytest.fixture
async def api():
    async with FakeKubeApi() as fake:
        for name in VOTERS:
            fake.create(name)
        yield fake


@pytest.fixture
async def members(api):
    made = []

    def make(name, times=FAST, uid=None):
        made.append(Member(api, name, times, uid))
        return made[-1]

    yield make
    for member in made:
        await member.end()
    assert api.most_labelled_at_once() <= 1


def roles(api):
    return [api.role(name) for name in VOTERS]


async def test_an_elected_node_fences_its_peers_and_labels_itself(api, members):
    api.touch("raftq-1", labels={"role": "leader"}, annotations={"raftq.io/term": "4", "raftq.io/cluster": "c"})
    member = members("raftq-0", PATIENT).start()
    await member.node.lead(5)
    await api.until(lambda: member.lags)

    assert roles(api) == ["leader", "follower", "follower"]
    assert [api.term(name) for name in VOTERS] == ["5", "5", "5"]
    assert api.patches[-1][0] == "raftq-0"
    assert member.labeller.labelled_leaders == 1
    assert member.labeller.api_last_success is not None
    assert member.lags == [member.labeller.label_lag]


async def test_in_steady_state_it_looks_and_writes_nothing(api, members):
    everybody = [members(name).start() for name in VOTERS]
    await everybody[0].node.lead(5)
    await api.until(lambda: api.labelled() and not any(member.labeller.pending for member in everybody))
    written = len(api.patches)
    looks = len(api.requests)
    await api.until(lambda: len(api.requests) > looks + 9)
    assert len(api.patches) == written


async def test_a_label_of_a_former_life_is_taken_off_before_the_start(api, members):
    api.touch("raftq-0", labels={"role": "leader"}, annotations={"raftq.io/term": "4"})
    member = members("raftq-0")
    await member.labeller.clear_own_label()
    assert api.role("raftq-0") == "follower"
    assert api.term("raftq-0") == "4"


@pytest.mark.parametrize("weather", ["frozen", "forbidden", "broken"])
async def test_the_start_waits_for_the_api_no_longer_than_it_may(api, members, weather):
    if weather == "frozen":
        api.freeze()
    api.refuse = lambda request: {"forbidden": 403, "broken": 503}.get(weather)
    async with asyncio.timeout(2):
        await members("raftq-0").labeller.clear_own_label()


async def test_a_deposed_leader_takes_its_label_off(api, members):
    member = members("raftq-0", PATIENT).start()
    await member.node.lead(5)
    await api.until(lambda: api.labelled())
    await api.until(lambda: member.lags)
    looks = len(api.statuses("GET"))
    await member.node.follow(6)
    await api.until(lambda: not api.labelled() and not member.labeller.pending)
    assert api.role("raftq-0") == "follower"
    assert len(api.statuses("GET")) == looks, "no look was needed to step back"


async def test_the_label_moves_from_leader_to_leader(api, members):
    everybody = [members(name).start() for name in VOTERS]
    for term in range(1, 13):
        await everybody[term % 3].node.lead(term)
        await api.until(lambda winner=VOTERS[term % 3]: api.labelled() == {winner})
        await everybody[term % 3].node.follow(term)
    await api.until(lambda: not api.labelled())


async def test_an_old_leader_that_does_not_know_it_gives_up_at_the_higher_term(api, members):
    old, new = members("raftq-0").start(), members("raftq-1").start()
    await old.node.lead(5)
    await api.until(lambda: api.labelled() == {"raftq-0"})
    await new.node.lead(6)
    await api.until(lambda: api.labelled() == {"raftq-1"})
    await api.until(lambda: old.node.observed and old.labeller.pending)
    assert old.node.observed[0] == 6


async def test_a_fence_that_overtakes_the_label_wins(api, members):
    """The newer leader's fence of our pod lands while our own label write is under way."""

    def overtake(request, body):
        if body and body["metadata"]["labels"]["role"] == "leader":
            api.touch("raftq-0", labels={"role": "follower"}, annotations={"raftq.io/term": "6"})

    api.before = overtake
    member = members("raftq-0").start()
    await member.node.lead(5)
    await api.until(lambda: member.node.observed)
    assert member.node.observed[0] == 6
    assert not any(api.history)


async def test_no_label_follows_once_raft_has_changed_its_mind(api, members):
    deposed = []

    def depose(request, body):
        if body and body["metadata"]["labels"]["role"] == "follower":
            deposed.append(asyncio.create_task(member.node.follow(6)))

    member = members("raftq-0").start()
    await api.until(lambda: api.role("raftq-0") == "follower" and not member.labeller.pending)
    api.before = depose
    await member.node.lead(5)
    await api.until(lambda: api.role("raftq-1") == "follower" and not member.labeller.pending)
    assert not any(api.history)


async def test_a_write_is_withheld_when_raft_changes_between_decision_and_sending(api, members):
    member = members("raftq-0")
    node = member.node

    def voters():
        if api.requests:  # it has looked, and decides now
            asyncio.get_running_loop().call_soon(setattr, node, "quorum", False)
        return VOTERS

    node.voters = voters
    await node.lead(5)
    member.start()
    await api.until(lambda: member.labeller.writes["withheld"] == 2)
    await api.until(lambda: api.role("raftq-0") == "follower")
    assert {name for name, _ in api.patches} == {"raftq-0"}


async def test_a_label_whose_answer_was_lost_is_looked_for_before_it_is_called_gone(api, members):
    deposed = []

    def hang_up(request, body):
        api.lose_answers = bool(body) and body["metadata"]["labels"]["role"] == "leader"
        if api.lose_answers:
            deposed.append(asyncio.create_task(member.node.follow(6)))

    api.touch("raftq-0", labels={"role": "follower"})
    api.before = hang_up
    never = Times(check=60, retry=60, retry_cap=60)
    member = members("raftq-0", never).start()
    await member.node.lead(5)
    await api.until(lambda: frozenset({"raftq-0"}) in api.history)
    await api.until(lambda: not api.labelled())


async def test_a_leader_without_a_quorum_by_the_clock_is_not_labelled(api, members):
    """A process that was frozen still holds the standing of before."""
    member = members("raftq-0")
    member.node.quorum = False
    await member.node.lead(5)
    member.start()
    await api.until(lambda: len(api.statuses("GET")) > 2)
    assert not any(api.history)
    assert not any("annotations" in patch["metadata"] for _, patch in api.patches)


async def test_changes_of_the_pods_meanwhile_are_read_again(api, members):
    touched = []

    def touch(request, body):
        name = request.match_info.get("name")
        if request.method == "PATCH" and touched.count(name) < 2:
            touched.append(name)
            api.touch(name)

    api.before = touch
    member = members("raftq-0", PATIENT).start()
    await member.node.lead(5)
    await api.until(lambda: api.labelled() == {"raftq-0"})
    assert member.labeller.writes["conflict"] == 6


async def test_an_api_that_always_reports_a_conflict_is_not_asked_as_fast_as_it_answers(api, members):
    def touch(request, body):
        if request.method == "PATCH":
            api.touch(request.match_info["name"])

    api.touch("raftq-0", labels={"app": "raftq", "role": "leader"})
    api.before = touch
    member = members("raftq-0", PATIENT)
    await member.labeller.clear_own_label()
    # 0.3 s with pauses of 5, 10 and then up to 20 ms between the tries.
    assert member.labeller.writes["conflict"] < 60


async def test_a_pod_that_is_gone_holds_nobody_up(api, members):
    api.delete("raftq-2")
    member = members("raftq-0").start()
    await member.node.lead(5)
    await api.until(lambda: api.labelled() == {"raftq-0"})
    assert member.labeller.writes["gone"] == 1
    looks = len(api.requests)
    await api.until(lambda: len(api.requests) > looks + 5)
    assert member.labeller.writes["gone"] == 1, "asked once a term"

    api.create("raftq-2")
    await api.until(lambda: api.term("raftq-2") == "5")
    assert api.role("raftq-2") == "follower"


async def test_a_voter_whose_pod_lost_its_selector_labels_is_fenced_all_the_same(api, members):
    api.touch("raftq-1", labels={"app": "stolen", "role": "leader"}, annotations={"raftq.io/term": "4"})
    member = members("raftq-0").start()
    await member.node.lead(5)
    await api.until(lambda: api.labelled() == {"raftq-0"})
    assert api.term("raftq-1") == "5"
    assert member.labeller.writes["conflict"] == 0


async def test_what_an_administrator_did_is_repaired(api, members):
    everybody = [members(name).start() for name in VOTERS]
    await everybody[0].node.lead(5)
    await api.until(lambda: api.labelled() == {"raftq-0"})
    api.touch("raftq-0", labels={"role": "follower"})
    await api.until(lambda: api.labelled() == {"raftq-0"})
    api.touch("raftq-1", labels={"role": "something"})
    await api.until(lambda: api.role("raftq-1") == "follower")


async def test_a_pod_of_another_owner_is_reported_once_and_left_alone(api, members, caplog):
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "x", "controller": True}
    thief = api.create("web-abc", ownerReferences=[owner])
    api.pods["web-abc"]["metadata"]["labels"]["role"] = "leader"
    version = thief["resourceVersion"]
    member = members("raftq-0").start()
    await member.node.lead(5)
    await api.until(lambda: api.role("raftq-0") == "leader")
    looks = len(api.requests)
    await api.until(lambda: len(api.requests) > looks + 3)
    assert api.pods["web-abc"]["metadata"]["resourceVersion"] == version
    assert member.labeller.labelled_leaders == 2
    assert sum("web-abc" in record.message for record in caplog.records) == 1
    api.history.clear()  # two wear it, and one of them is none of ours


@pytest.mark.parametrize("weather", ["frozen", "broken", "hangs up"])
async def test_after_an_outage_with_an_election_inside_there_is_one_label_and_the_right_one(api, members, weather):
    everybody = [members(name).start() for name in VOTERS]
    await everybody[0].node.lead(5)
    await api.until(lambda: api.labelled() == {"raftq-0"})

    if weather == "frozen":
        api.freeze()
    api.refuse = lambda request: 503 if weather == "broken" else None
    api.lose_answers = weather == "hangs up"
    await everybody[0].node.follow(6)
    await everybody[1].node.lead(6)
    if weather == "broken":
        asked = len(api.requests)
        await api.until(lambda: len(api.requests) > asked + 12)
        assert everybody[1].labeller.pending
        assert api.labelled() == {"raftq-0"}

    api.refuse = lambda request: None
    api.lose_answers = False
    api.thaw()
    await api.until(lambda: api.labelled() == {"raftq-1"} and not any(one.labeller.pending for one in everybody))
    assert roles(api) == ["follower", "leader", "follower"]


async def test_an_outage_is_logged_once_and_not_for_each_try(api, members, caplog):
    caplog.set_level(logging.INFO)
    api.refuse = lambda request: 503
    member = members("raftq-0").start()
    await api.until(lambda: len(api.requests) > 5)
    api.refuse = lambda request: None
    await api.until(lambda: not member.labeller.pending)
    ours = [record.message for record in caplog.records if record.name.startswith("raftq_k8s")]
    assert sum("503" in message for message in ours) == 1
    assert sum("as it should be" in message for message in ours) == 1


@pytest.mark.parametrize("status", [403, 422])
async def test_a_refused_write_is_counted_and_not_hurried(api, members, status):
    api.refuse = lambda request: status if request.path.endswith("raftq-2") else None
    member = members("raftq-0", PATIENT).start()
    await member.node.lead(5)
    await api.until(lambda: member.labeller.writes["refused"])
    await api.until(lambda: api.term("raftq-1") == "5")
    assert not api.labelled()
    assert member.labeller.pending
    assert member.labeller.writes["refused"] == 1

    api.refuse = lambda request: None
    await member.node.lead(7)
    await api.until(lambda: api.labelled() == {"raftq-0"})


async def test_a_refused_write_is_tried_again_in_the_end(api, members):
    api.refuse = lambda request: 403 if request.method == "PATCH" else None
    member = members("raftq-0").start()
    await member.node.lead(5)
    await api.until(lambda: member.labeller.writes["refused"] > 4)
    api.refuse = lambda request: None
    await api.until(lambda: api.labelled() == {"raftq-0"})


async def test_a_process_whose_pod_was_created_again_labels_nobody(api, members, caplog):
    uid = api.pods["raftq-0"]["metadata"]["uid"]
    api.delete("raftq-0")
    api.create("raftq-0")
    member = members("raftq-0", uid=uid).start()
    await member.node.lead(5)
    await api.until(lambda: "passed to another pod" in caplog.text)
    assert not api.patches


async def test_it_tells_when_its_own_pod_was_deleted_and_of_no_other(api, members):
    member = members("raftq-0", uid=api.pods["raftq-0"]["metadata"]["uid"]).start()
    api.condemn("raftq-1")
    await api.until(lambda: api.statuses("GET").count(200) >= 4)
    assert member.deletions == []
    api.condemn("raftq-0")
    await api.until(lambda: member.deletions)


async def test_the_end_takes_the_label_off_and_keeps_it_off(api, members):
    member = members("raftq-0").start()
    await member.node.lead(5)
    await api.until(lambda: api.labelled())
    await member.labeller.release()
    assert not api.labelled()
    looks = len(api.requests)
    await api.until(lambda: len(api.requests) > looks + 3)
    assert not api.labelled()


async def test_the_end_does_not_wait_for_an_api_that_is_away(api, members):
    member = members("raftq-0").start()
    await member.node.lead(5)
    await api.until(lambda: api.labelled())
    api.freeze()
    async with asyncio.timeout(2):
        await member.labeller.release()
