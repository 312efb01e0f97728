"""`raftq certs`: what it makes is what agents take."""

import json
import stat

import pytest

from raftq_k8s.cli.certificates import run
from raftq_k8s.raft.types import MemberId
from raftq_k8s.transport.certificates import Zone
from raftq_k8s.transport.tls import Tls, TlsFiles


def files(folder):
    return TlsFiles(folder / "tls.crt", folder / "tls.key", folder / "ca.crt")


def test_an_agent_takes_what_was_made_for_it(tmp_path, capsys):
    assert run(tmp_path / "pki", ["raftq-0", "raftq-1"], "", "", 7, as_json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["members"] == [str(tmp_path / "pki" / name) for name in ("raftq-0", "raftq-1")]
    for name in ("raftq-0", "raftq-1"):
        assert Tls(files(tmp_path / "pki" / name), MemberId(name), Zone())


def test_all_pods_may_share_one(tmp_path):
    assert run(tmp_path, [], "raftq-headless", "here", 7, as_json=True) == 0
    for name in ("raftq-0", "raftq-63"):
        assert Tls(files(tmp_path / "all-pods"), MemberId(name), Zone("raftq-headless", "here"))


def test_another_run_renews_members_and_keeps_the_authority(tmp_path):
    run(tmp_path, ["raftq-0"], "", "", 7, as_json=True)
    authority, member = ((tmp_path / name).read_bytes() for name in ("ca.crt", "raftq-0/tls.crt"))
    run(tmp_path, ["raftq-0"], "", "", 7, as_json=True)
    assert (tmp_path / "ca.crt").read_bytes() == authority
    assert (tmp_path / "raftq-0/tls.crt").read_bytes() != member


def test_keys_are_for_their_owner_alone(tmp_path):
    run(tmp_path, ["raftq-0"], "", "", 7, as_json=True)
    for key in ("ca.key", "raftq-0/tls.key"):
        assert stat.S_IMODE((tmp_path / key).stat().st_mode) == 0o600


def test_people_are_told_how_to_use_them(tmp_path, capsys):
    run(tmp_path, ["raftq-0"], "", "", 7, as_json=False)
    said = capsys.readouterr().out
    assert f"raftq agent --tls-cert {tmp_path}/raftq-0/tls.crt --tls-key" in said


@pytest.mark.parametrize(
    ("members", "complaint"), [([], "for whom?"), (["raftq-0", "../raftq-0"], "'../raftq-0' is no name of a member")]
)
def test_a_name_that_is_none_is_said_in_one_line_before_anything_is_made(tmp_path, capsys, members, complaint):
    assert run(tmp_path, members, "", "", 7, as_json=False) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_an_authority_that_was_spoilt_is_not_replaced(tmp_path, capsys):
    run(tmp_path, ["raftq-0"], "", "", 7, as_json=True)
    (tmp_path / "ca.key").write_text("no key")
    assert run(tmp_path, ["raftq-1"], "", "", 7, as_json=True) == 1
    assert "are no authority that can sign" in capsys.readouterr().err
    assert (tmp_path / "ca.key").read_text() == "no key"
