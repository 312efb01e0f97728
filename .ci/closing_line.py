"""One closing line, in pytest's form, for several pytest runs: `closing_line.py NAME=JUNIT_XML …`.

A run that left no report counts as an error. Ends with exit code 1 unless everything passed.
"""

import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

WIDTH = 100


def counted(report: Path) -> tuple[Counter[str], float]:
    """How many tests ended how, and how many seconds the run took."""
    counts: Counter[str] = Counter()
    seconds = 0.0
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        failed, errors, skipped = (int(suite.get(kind, 0)) for kind in ("failures", "errors", "skipped"))
        counts += Counter(failed=failed, error=errors, skipped=skipped)
        counts += Counter(passed=int(suite.get("tests", 0)) - failed - errors - skipped)
        seconds += float(suite.get("time", 0))
    return counts, seconds


def in_words(counts: Counter[str]) -> str:
    parts = [f"{counts[kind]} {kind}" for kind in ("failed", "passed", "skipped") if counts[kind]]
    if counts["error"]:
        parts.append(f"{counts['error']} error{'s' * (counts['error'] > 1)}")
    return ", ".join(parts) or "no tests ran"


def main(arguments: list[str]) -> int:
    total: Counter[str] = Counter()
    total_seconds = 0.0
    for argument in arguments:
        name, _, path = argument.partition("=")
        try:
            counts, seconds = counted(Path(path))
        except (OSError, ElementTree.ParseError):
            print(f"{name}: ended without a report")
            total["error"] += 1
            continue
        print(f"{name}: {in_words(counts)} in {seconds:.2f}s")
        total += counts
        total_seconds += seconds
    line = f" {in_words(total)} in {total_seconds:.2f}s "
    if total_seconds >= 60:
        minutes, seconds = divmod(round(total_seconds), 60)
        line += f"({minutes // 60}:{minutes % 60:02}:{seconds:02}) "
    print(line.center(WIDTH, "="))
    return int(bool(total["failed"] or total["error"] or not total["passed"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
