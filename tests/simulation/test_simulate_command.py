"""`raftq simulate` from the outside: what it prints, and its exit code."""

import json
from pathlib import Path

import pytest

from raftq_k8s.cli import simulate
from raftq_k8s.cli.commands import run
from raftq_k8s.sim import cluster, faults, mutations


def test_seeds_without_a_violation_end_with_0_and_figures(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--seeds", "1", "--seed", "3", "--seconds", "3", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"first_seed", "seeds", "simulated_seconds", "elections", "commits", "faults", "violations"}
    assert (told["first_seed"], told["seeds"]) == (3, 1)
    assert told["simulated_seconds"] >= 3
    assert told["violations"] == []


def test_a_violation_ends_with_1_and_a_story_that_can_be_replayed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mutation = next(mutation for mutation in mutations.MUTATIONS if mutation.name == "acknowledge-unsynced")
    with mutations.mutated(mutation):
        seed = next(seed for seed in range(20) if cluster.run(faults.swarm(seed, lasts=5000.0)).violation)
        assert run(["simulate", "--seeds", "1", "--seed", str(seed), "--seconds", "5"]) == 1
        told = capsys.readouterr().out
        assert f"raftq simulate --seed {seed} --seeds 1" in told
        file = tmp_path / f"raftq-violation-{seed}.json"
        assert f"raftq simulate --replay {file.name}" in told
        assert run(["simulate", "--replay", str(file)]) == 1
        assert "6 durable before reply" in capsys.readouterr().out
    assert run(["simulate", "--replay", str(file)]) == 0


def test_a_fault_that_does_not_exist_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--faults", "crash,earthquake"]) == 2
    said = capsys.readouterr().err
    assert "'--faults': no such fault: earthquake; there are crash," in said


def test_a_script_runs_on_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["simulate", "--faults", "crash,twin"]) == 2
    assert "on their own" in capsys.readouterr().err
    assert run(["simulate", "--faults", "twin", "--seeds", "1", "--seed", "2", "--seconds", "8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["faults"]["twin"] == 1


def test_a_file_that_is_no_story_is_said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "story.json").write_text("{}")
    assert run(["simulate", "--replay", str(tmp_path / "story.json")]) == 2
    assert "neither an agent's trace" in capsys.readouterr().err
    assert run(["simulate", "--replay", str(tmp_path / "none.json")]) == 2
    assert capsys.readouterr().err.endswith("none.json cannot be replayed: No such file or directory\n")


def test_faults_are_named_by_a_list() -> None:
    assert simulate.kinds_of("crash, partition") == ("crash", "partition")
    assert simulate.kinds_of("") == tuple(faults.KINDS)
