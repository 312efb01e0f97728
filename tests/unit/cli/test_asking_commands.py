"""The commands that ask agents, in this process, before the real face of a real node: what they print and how they
end."""

import asyncio
import io
import json
import sys
import threading

import pytest

from raftq_k8s.api.authorization import Guard, TokenFile
from raftq_k8s.api.server import HttpFace
from raftq_k8s.cli import connecting
from raftq_k8s.cli.commands import run
from raftq_k8s.node.options import RaftqOptions
from raftq_k8s.node.raftq import Raftq
from raftq_k8s.raft.types import MemberId
from raftq_k8s.storage.memory import MemoryVolume


class NodeInAThread:
    """A cluster of one, with a face for everybody and one that asks for a token."""

    def __init__(self, token_file):
        self.token_file = token_file
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.url, self.guarded_url = self._wait_for(self._begin())

    async def _begin(self):
        self._node = Raftq(RaftqOptions(bootstrap=True), volume=MemoryVolume(MemberId("a-0")))
        await self._node.dispatch("serviceStarted", {"node": {"id": "a-0", "time": 1}})
        open_to_all = HttpFace(self._node, "127.0.0.1", 0, version="9.9.9")
        guarded = HttpFace(self._node, "127.0.0.1", 0, version="9.9.9", guard=Guard(TokenFile(self.token_file)))
        self._faces = open_to_all, guarded
        for face in self._faces:
            await face.start()
        return tuple(f"http://127.0.0.1:{face.port}" for face in self._faces)

    def end(self):
        self._wait_for(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self):
        for face in self._faces:
            await face.close()
        await self._node.destroy()

    def _wait_for(self, work):
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    token_file = tmp_path_factory.mktemp("secret") / "token"
    token_file.write_text("secret\n")
    node = NodeInAThread(token_file)
    yield node
    node.end()


@pytest.fixture
def raftq(node, monkeypatch, capsys):
    """Runs it, and returns exit code, standard output and standard error."""
    monkeypatch.setenv("RAFTQ_SERVER", node.url)
    monkeypatch.delenv("RAFTQ_TOKEN_FILE", raising=False)
    assert run(["data", "replace", "{}"]) == 0
    capsys.readouterr()

    def asked(*arguments):
        code = run(arguments)
        said = capsys.readouterr()
        return code, said.out, said.err

    return asked


def typed(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text)))


def test_what_is_put_is_got_and_deleted(raftq):
    assert raftq("data", "put", "colour", '"blue"')[0] == 0
    assert raftq("data", "get", "colour") == (0, '"blue"\n', "")
    assert raftq("data", "get", "colour", "--text")[1] == "blue\n"
    assert raftq("data", "delete", "colour")[0] == 0
    assert raftq("data", "get", "colour") == (1, "", "raftq: there is no key colour\n")
    assert raftq("data", "delete", "colour") == (1, "", "raftq: there is no key colour\n")


def test_a_value_travels_byte_for_byte(raftq, monkeypatch):
    value = b'{"digits": 1.000000000000000000000000001, "list": [1,  2]}'
    typed(monkeypatch, value)
    assert raftq("data", "put", "exact", "-")[0] == 0
    assert raftq("data", "get", "exact")[1].encode() == value + b"\n"


def test_a_condition_that_does_not_hold_is_exit_code_1(raftq):
    code, out, _ = raftq("data", "put", "owner", "me", "--text", "--if-revision", "0", "--json")
    assert (code, json.loads(out)["existed"]) == (0, False)
    code, _, err = raftq("data", "put", "owner", "you", "--text", "--if-revision", "0")
    assert (code, len(err.splitlines())) == (1, 1)
    assert raftq("data", "put", "nobody", "1", "--if-present")[0] == 1
    assert raftq("data", "delete", "owner", "--if-revision", "1")[0] == 1
    assert raftq("data", "put", "owner", "1", "--if-present", "--if-revision", "1")[0] == 2


def test_a_transaction_is_all_or_nothing(raftq):
    transaction = {"if": [{"key": "owner", "exists": False}], "do": [{"put": "owner", "value": "you"}]}
    code, out, _ = raftq("data", "txn", json.dumps(transaction), "--json")
    assert (code, json.loads(out)["existed"]) == (0, [False])
    code, _, err = raftq("data", "txn", json.dumps(transaction))
    assert (code, "'owner' has revision" in err) == (1, True)
    assert raftq("data", "txn", "{}")[0] == 1
    assert raftq("data", "txn", "{")[0] == 2


def test_several_keys_change_at_once(raftq):
    raftq("data", "replace", '{"a": 1, "b": 2, "c/d": 3}')
    raftq("data", "patch", '{"a": null, "c/e": [4]}')
    assert json.loads(raftq("data", "get")[1]) == {"b": 2, "c/d": 3, "c/e": [4]}
    told = json.loads(raftq("data", "get", "--prefix", "c/", "--json")[1])
    assert {key: at["value"] for key, at in told["keys"].items()} == {"c/d": 3, "c/e": [4]}
    assert [line.split()[0] for line in raftq("data", "get", "--prefix", "c/")[1].splitlines()] == ["c/d", "c/e"]
    assert json.loads(raftq("data", "get", "c/d", "--json")[1])["value"] == 3


@pytest.mark.parametrize("key", ["", "\udcff"])
def test_what_is_no_key_is_a_mistake_said_in_one_line(raftq, key):
    for command in ("get",), ("put", "1"), ("delete",):
        code, _, err = raftq("data", command[0], key, *command[1:])
        assert (code, len(err.splitlines())) == (2, 1)


def test_what_is_no_text_is_a_mistake_wherever_it_stands(raftq):
    code, _, err = raftq("pause", "\udcff")
    assert (code, "is not Unicode text" in err) == (2, True)


def test_a_key_does_not_move_the_cursor_of_a_terminal(raftq):
    raftq("data", "put", "locks/\x1b[31m", "1")
    assert "\x1b" not in raftq("data", "get", "--prefix", "locks/")[1]
    assert "\x1b" not in raftq("data", "get", "locks/\x1b[32m")[2]


def test_a_key_and_a_prefix_are_one_too_many(raftq):
    assert raftq("data", "get", "a", "--prefix", "b")[0] == 2


def test_members_and_status_tell_of_the_one(raftq):
    told = json.loads(raftq("members", "list", "--json")[1])
    assert [(member["name"], member["kind"]) for member in told["members"]] == [("a-0", "voter")]
    assert "a-0" in raftq("members", "list")[1]
    code, out, _ = raftq("status", "--json")
    assert (code, json.loads(out)["leader"]) == (0, "a-0")
    plain = raftq("status")[1]
    assert "leader a-0" in plain
    assert all(line == line.rstrip() and "\x1b" not in line for line in plain.splitlines())


def test_what_the_cluster_refuses_is_exit_code_1_and_one_line(raftq):
    for command in (["transfer"], ["transfer", "b-1"], ["members", "remove", "b-1"], ["members", "promote", "b-1"]):
        code, out, err = raftq(*command)
        assert (code, out, len(err.splitlines())) == (1, "", 1)


def test_a_pause_is_shown_until_it_ends(raftq):
    assert raftq("pause", "new disks")[0] == 0
    assert "paused: new disks" in raftq("status")[1]
    assert raftq("resume", "--json") == (0, '{"paused": null}\n', "")
    assert "paused" not in raftq("status")[1]


def test_a_snapshot_is_saved_whole_and_replaces_nothing_unasked(raftq, tmp_path):
    file = tmp_path / "backup"
    code, out, _ = raftq("snapshot", "save", str(file), "--json")
    assert (code, json.loads(out)["bytes"]) == (0, file.stat().st_size)
    assert raftq("snapshot", "save", str(file))[0] == 2
    assert raftq("snapshot", "save", str(file), "--force")[0] == 0
    assert raftq("snapshot", "save", str(tmp_path / "no" / "folder"))[0] == 1
    assert [each.name for each in tmp_path.iterdir()] == ["backup"]


def test_without_the_token_it_says_which_option_names_it(raftq, node):
    code, _, err = raftq("data", "put", "a", "1", "--server", node.guarded_url)
    assert code == 1
    assert "--token-file" in err
    assert raftq("data", "put", "a", "1", "--server", node.guarded_url, "--token-file", str(node.token_file))[0] == 0


def test_without_a_server_the_answer_is_one_line_and_exit_code_3(raftq, monkeypatch):
    monkeypatch.setattr(connecting, "PATIENCE_S", 0.3)
    code, out, err = raftq("data", "get", "colour", "--server", "http://127.0.0.1:9")
    assert (code, out) == (3, "")
    assert err == "raftq: http://127.0.0.1:9: connection refused (who is asked: --server URL, or RAFTQ_SERVER)\n"


def test_doctor_says_what_it_found_and_ends_with_1_where_something_is_wrong(raftq, monkeypatch):
    code, out, _ = raftq("doctor")
    assert code == 0
    assert "✓  leader    a-0 leads" in out
    code, out, _ = raftq(
        "doctor", "--json", "--", "--name", "a-0", "--data", "/nowhere", "--peers", "a-0=127.0.0.1:7400"
    )
    findings = {finding["check"]: finding["state"] for finding in json.loads(out)["findings"]}
    assert (code, findings["volume"], findings["leader"]) == (1, "wrong", "well")
