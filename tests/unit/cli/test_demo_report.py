"""What the demo says at its end, to people and to programs, and how the command refuses what it does not know."""

import json
from importlib.metadata import version

import pytest

from raftq_k8s.cli.commands import run
from raftq_k8s.cli.demo import OneObject, PlainLines, Report

GOOD = Report(nodes=3, kills=2, failover_seconds=[0.3, 0.4], acknowledged=1234, lost=0, duplicates=0)


def test_one_json_object_and_nothing_else(capsys):
    audience = OneObject()
    audience.tell("something happened")
    audience.conclude(GOOD)
    assert json.loads(capsys.readouterr().out) == {
        "nodes": 3,
        "kills": 2,
        "failover_seconds": [0.3, 0.4],
        "acknowledged": 1234,
        "lost": 0,
        "duplicates": 0,
    }


def test_plain_lines_as_things_happen(capsys):
    audience = PlainLines()
    audience.tell("something happened")
    audience.conclude(GOOD)
    assert capsys.readouterr().out.splitlines() == [
        "something happened",
        "0 lost · 0 applied twice · 1,234 puts acknowledged",
        "failover median 0.35 s, slowest 0.40 s",
    ]


@pytest.mark.parametrize("harm", [{"lost": 1}, {"duplicates": 1}])
def test_a_lost_or_doubled_put_is_no_success(harm):
    assert GOOD.sound
    assert not GOOD._replace(**harm).sound


@pytest.mark.parametrize(
    ("arguments", "complaint", "help_of"),
    [
        (["nope"], "'nope'", "raftq"),
        (["--nope"], "--nope", "raftq"),
        (["demo", "--nope"], "--nope", "raftq demo"),
        (["demo", "--kills"], "--kills", "raftq demo"),
        (["demo", "--kills", "-1"], "'--kills': -1 is not a whole number from 0 to 1000", "raftq demo"),
        (["demo", "--nodes", "two"], "'--nodes': two is not a whole number from 3 to 9", "raftq demo"),
    ],
)
def test_a_command_line_that_is_wrong_is_refused_with_one_line(capsys, arguments, complaint, help_of):
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert complaint in said.err
    assert f'(see "{help_of} --help")' in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


def test_without_a_subcommand_help_is_shown(capsys):
    assert run([]) == 0
    assert "agent" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_the_version_is_asked_for_in_either_way(capsys, arguments):
    assert run(arguments) == 0
    assert capsys.readouterr().out.strip() == version("raftq_k8s")


def test_the_help_of_the_demo_explains_what_it_counts(capsys):
    assert run(["demo", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"{word}:" in said for word in ("refused", "unknown"))
