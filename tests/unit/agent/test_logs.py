"""Every line says who wrote it, and where that member stood."""

import json
import logging

import pytest

from raftq_k8s.agent import logs
from raftq_k8s.raft.output import Standing


@pytest.fixture(autouse=True)
def root_as_before():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level


def test_an_object_a_line_with_member_term_and_role(capsys):
    place = logs.begin("raftq-0", "json", "info")
    logging.getLogger("a.part").info("begins")
    place.follow(lambda: Standing("leader", 3, "raftq-0", True))
    logging.getLogger("a.part").warning("a line\nand another")
    before, after = map(json.loads, capsys.readouterr().err.splitlines())
    assert before["member"] == "raftq-0"
    assert "term" not in before
    assert (after["level"], after["logger"], after["term"], after["role"]) == ("WARNING", "a.part", 3, "leader")
    assert after["message"] == "a line\nand another"


def test_a_plain_line_reads_from_left_to_right(capsys):
    logs.begin("raftq-0", "plain", "info").follow(lambda: Standing("follower", 3, None, False))
    logging.getLogger("a.part").info("nobody leads")
    assert capsys.readouterr().err.endswith(" INFO    raftq-0 term 3 follower · nobody leads\n")


def test_what_is_less_severe_than_asked_for_is_left_out(capsys):
    logs.begin("raftq-0", "plain", "warning")
    logging.getLogger("a.part").info("not this")
    assert capsys.readouterr().err == ""
