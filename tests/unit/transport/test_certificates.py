"""For whom a certificate speaks."""

import pytest

from raftq_k8s.transport.certificates import Zone, speaks_for

HERE = Zone("raftq-headless", "here")


def showing(*names):
    return {"subject": ((("commonName", "raftq-1"),),), "subjectAltName": tuple(("DNS", name) for name in names)}


@pytest.mark.parametrize(
    "name",
    [
        "raftq-1",
        "RAFTQ-1",
        "raftq-1.raftq-headless.here",
        "raftq-1.raftq-headless.here.svc",
        "raftq-1.raftq-headless.here.svc.cluster.local",
        "*.raftq-headless.here.svc",
        "*.raftq-headless.here.svc.cluster.local.",
    ],
)
def test_a_certificate_speaks_for_a_member_by_its_name_or_by_its_name_in_dns(name):
    assert speaks_for(showing("somebody-else", name), "raftq-1", HERE)


@pytest.mark.parametrize(
    "name",
    [
        "raftq-0",
        "raftq-10",
        "*",
        "*.svc",
        "*.here.svc",
        "raftq-1.raftq-headless",
        "raftq-1.raftq-headless.there.svc",
        "raftq-1.raftq-headless.here.example.org",
        "raftq-1.raftq-headless.heresvc",
        "x.raftq-1.raftq-headless.here.svc",
        "*.other-headless.here.svc",
        "raftq-*.raftq-headless.here.svc",
    ],
)
def test_no_other_name_speaks_for_it(name):
    assert not speaks_for(showing(name), "raftq-1", HERE)


def test_the_common_name_counts_for_nothing():
    assert not speaks_for(showing(), "raftq-1", HERE)
    assert not speaks_for({"subject": ((("commonName", "raftq-1"),),)}, "raftq-1", HERE)


def test_an_address_is_no_name():
    assert not speaks_for({"subjectAltName": (("IP Address", "raftq-1"),)}, "raftq-1", HERE)


def test_without_a_service_only_the_member_s_own_name_counts():
    assert speaks_for(showing("raftq-1"), "raftq-1", Zone())
    assert not speaks_for(showing("*..", "raftq-1..svc", "raftq-1.."), "raftq-1", Zone())
