"""What is refused before anything begins, and what the rest becomes."""

import pytest

from raftq_k8s.agent.settings import CHAPTERS, PROFILES, Address, Settings, SettingsError, Times, plan
from raftq_k8s.raft.birth import BirthRule, lowest

THREE = tuple(f"raftq-{ordinal}" for ordinal in range(3))
PEERS = "raftq-0=10.0.0.1:7400,raftq-1=10.0.0.2:7400,raftq-2=[fd00::3]:7401"


def in_a_pod(**changes):
    return Settings(**{"name": "raftq-1", "service": "raftq-headless", "namespace": "there", **changes})


def test_every_setting_stands_in_exactly_one_chapter():
    told = [key for keys in CHAPTERS.values() for key in keys]
    assert sorted(told) == sorted(Settings.__struct_fields__)


def test_the_lowest_of_the_expected_members_founds():
    planned = plan(in_a_pod(birth_replicas=3))
    assert planned.birth.expected == ("raftq-0", "raftq-1", "raftq-2")
    assert planned.birth.founder == "raftq-0"
    assert planned.group == "raftq"


def test_peers_say_how_many_members_there_are():
    planned = plan(Settings(name="raftq-1", peers=PEERS))
    assert len(planned.birth.expected) == 3
    assert planned.peers["raftq-2"] == Address("fd00::3", 7401)


def test_a_member_beyond_those_of_the_birth_founds_nothing_and_joins():
    for planned in (plan(in_a_pod(name="raftq-5")), plan(Settings(name="raftq-2", peers=PEERS, birth_replicas=2))):
        assert planned.name not in planned.birth.expected
        assert planned.birth.founder == "raftq-0"


@pytest.mark.parametrize("profile", ["fast", "steady"])
def test_a_profile_gives_the_times(profile):
    assert plan(in_a_pod(profile=profile)).times == PROFILES[profile]


def test_a_single_time_overrides_its_profile():
    assert plan(in_a_pod(maximum_election_ms=900)).times == Times(50, 250, 900)


def test_clients_are_sent_to_the_pods_own_name():
    assert plan(in_a_pod()).advertise_http == "raftq-1.raftq-headless.there.svc:7480"


def test_an_address_of_ipv6_is_advertised_in_brackets():
    assert plan(Settings(name="raftq-2", peers=PEERS)).advertise_http == "[fd00::3]:7480"


def test_an_even_number_of_members_is_allowed_with_a_warning():
    (warning,) = plan(in_a_pod(birth_replicas=4)).warnings
    assert "4 members survive no more failures than 3" in warning
    assert plan(in_a_pod(birth_replicas=3)).warnings == ()


def test_the_rule_of_birth_says_who_founds():
    assert plan(in_a_pod()).birth == lowest(THREE)
    assert plan(in_a_pod(birth="witness")).birth == BirthRule(THREE, None, witness="decides")


def test_a_witness_is_kept_by_the_kubernetes_api():
    with pytest.raises(SettingsError, match="birth witness needs the Kubernetes API"):
        plan(in_a_pod(birth="witness", kubernetes="off"))


@pytest.mark.parametrize("key", ["role", "Role_of.it", "example.com/role", "r" * 63])
def test_a_label_may_have_any_key_that_kubernetes_takes(key):
    assert plan(in_a_pod(label_key=key)).settings.label_key == key


@pytest.mark.parametrize(
    "address", ["raftq-1.example:80", "10.0.0.1:80", "[fd00::3]:80", "[fe80::1%eth0]:80", "a_b:80"]
)
def test_an_address_may_be_a_name_or_a_number(address):
    assert plan(in_a_pod(advertise_http=address)).advertise_http == address


def test_a_raft_port_that_peers_do_not_dial_is_warned_of():
    (warning,) = plan(Settings(name="raftq-2", peers=PEERS)).warnings
    assert "peers dial raftq-2 on port 7401, but raft_port is 7400" in warning
    assert plan(Settings(name="raftq-2", peers=PEERS, raft_port=7401)).warnings == ()


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        (in_a_pod(name="raftq"), "does not end in an ordinal"),
        (in_a_pod(name="raftq-01"), "does not end in an ordinal"),
        (in_a_pod(birth_replicas=0), "birth_replicas 0"),
        (in_a_pod(birth_replicas=-3), "birth_replicas -3"),
        (in_a_pod(birth_replicas=65), "birth_replicas 65: a cluster has 1 to 64 members"),
        (in_a_pod(birth_replicas=1 << 70), "a cluster has 1 to 64 members"),
        (in_a_pod(data=""), "data is empty"),
        (in_a_pod(tls_cert="a"), "needs tls_key and tls_ca as well"),
        (in_a_pod(tls_ca="a", tls_key="b"), "needs tls_cert as well"),
        (Settings(name="raftq-7", peers=PEERS), "and not this member, raftq-7"),
        (Settings(name="raftq-0", peers=PEERS + ",other-3=h:1", birth_replicas=3), "a cluster of 3 is raftq-0"),
        (in_a_pod(namespace=""), "service needs namespace"),
        (in_a_pod(service=""), "nobody to form a cluster with"),
        (in_a_pod(service="a.b"), "service 'a.b' is no name of a Service"),
        (in_a_pod(namespace="No_Such"), "namespace 'No_Such' is no name of a namespace"),
        (in_a_pod(peers=PEERS), "peers and service are both set"),
        (Settings(name="raftq-0", peers=PEERS, birth_replicas=5), "a cluster of 5 is raftq-0"),
        (Settings(name="other-0", peers=PEERS), "a cluster of 3 is other-0"),
        (Settings(name="raftq-0", peers="raftq-0"), "is not NAME-0=HOST:PORT"),
        (Settings(name="raftq-0", peers="raftq-0=host"), "is not HOST:PORT"),
        (Settings(name="raftq-0", peers="raftq-0=host:0"), "is not HOST:PORT"),
        (Settings(name="raftq-0", peers="raftq-0=h:1,raftq-0=h:2"), "raftq-0 is named twice"),
        (in_a_pod(heartbeat_ms=126), "at least twice heartbeat_ms 126"),
        (in_a_pod(minimum_election_ms=500), "must be greater than minimum_election_ms 500"),
        (in_a_pod(advertise_http="host"), "advertise_http: 'host' is not HOST:PORT"),
        (in_a_pod(advertise_http="x y:1"), "advertise_http: 'x y:1' is not HOST:PORT"),
        (in_a_pod(advertise_http="http://x:1"), "is not HOST:PORT"),
        (in_a_pod(advertise_http="fd00::3:7480"), "is not HOST:PORT"),
        (in_a_pod(advertise_http="[fd00::g]:7480"), "is not HOST:PORT"),
        (in_a_pod(advertise_http="host:٧٤"), "is not HOST:PORT"),
        (in_a_pod(label_key="bad key!"), "label_key 'bad key!' is no key of a label"),
        (in_a_pod(label_key="Example.com/role"), "is no key of a label"),
        (in_a_pod(label_key=""), "label_key '' is no key of a label"),
        (in_a_pod(label_key="r" * 64), "is no key of a label"),
        (in_a_pod(auth_reads="on"), "auth_reads needs token_file as well"),
    ],
)
def test_what_cannot_work_is_refused_with_one_line(settings, complaint):
    with pytest.raises(SettingsError) as refusal:
        plan(settings)
    assert complaint in str(refusal.value)
    assert "\n" not in str(refusal.value)
