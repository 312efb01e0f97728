"""The last line of `.ci/run` must tell the truth about every run that it sums up."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[3] / ".ci" / "closing_line.py"


def report(folder: Path, name: str, **counts: float) -> str:
    attributes = " ".join(f'{key}="{value}"' for key, value in counts.items())
    path = folder / f"{name}.xml"
    path.write_text(f'<?xml version="1.0"?><testsuites><testsuite name="pytest" {attributes}/></testsuites>')
    return f"{name}={path}"


def close(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([sys.executable, PROGRAM, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.splitlines()[-1].strip("= ")


def test_it_sums_up_what_passed_and_was_skipped(tmp_path: Path) -> None:
    first = report(tmp_path, "unit", tests=300, failures=0, errors=0, skipped=1, time=60.5)
    second = report(tmp_path, "e2e", tests=13, failures=0, errors=0, skipped=0, time=179.62)
    assert close(first, second) == (0, "312 passed, 1 skipped in 240.12s (0:04:00)")


@pytest.mark.parametrize("kind", ["failures", "errors"])
def test_one_failure_anywhere_is_a_failure(tmp_path: Path, kind: str) -> None:
    good = report(tmp_path, "unit", tests=5, failures=0, errors=0, skipped=0, time=1)
    bad = report(tmp_path, "e2e", **{"tests": 3, "failures": 0, "errors": 0, "skipped": 0, "time": 1, kind: 1})
    code, line = close(bad, good)
    assert code == 1
    assert line == {"failures": "1 failed, 7 passed in 2.00s", "errors": "7 passed, 1 error in 2.00s"}[kind]


def test_a_run_without_a_report_is_an_error(tmp_path: Path) -> None:
    good = report(tmp_path, "unit", tests=5, failures=0, errors=0, skipped=0, time=1)
    assert close(good, f"e2e={tmp_path / 'none.xml'}") == (1, "5 passed, 1 error in 1.00s")


def test_no_runs_at_all_are_no_success() -> None:
    assert close() == (1, "no tests ran in 0.00s")


def test_a_report_that_pytest_writes_is_understood(tmp_path: Path) -> None:
    (tmp_path / "test_three.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert False\n"
        "def test_not_here(): pytest.skip('elsewhere')\n"
    )
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml=it.xml", "test_three.py"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    code, line = close(f"it={tmp_path / 'it.xml'}")
    assert code == 1
    assert line.startswith("1 failed, 1 passed, 1 skipped in ")
