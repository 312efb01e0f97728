"""`raftq storage check DIR`: what is on a volume, and whether a node would start on it."""

import json
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from raftq_k8s.cli.sizes import in_words
from raftq_k8s.storage.inspection import Report, inspect, names
from raftq_k8s.storage.volume import VolumeUnusable

DAMAGED, UNREADABLE = 1, 2


def run(directory: Path, *, as_json: bool) -> int:
    try:
        report = inspect(directory)
    except (VolumeUnusable, OSError) as error:
        print(f"raftq: {error}", file=sys.stderr)
        return UNREADABLE
    if as_json:
        print(json.dumps(msgspec.to_builtins(report) | {"sound": report.sound}))
    else:
        _tell(directory, report, Console(highlight=False, soft_wrap=True))
    return 0 if report.sound else DAMAGED


def _tell(directory: Path, report: Report, console: Console) -> None:
    verdict = "[green]sound[/]" if report.sound else "[red]damaged[/]: no node starts on it"
    console.print(f" {escape(str(directory))} is {'blank: it was never used' if _is_blank(report) else verdict}\n")
    for name, value in _facts(report):
        console.print(f"   {name:<10} {escape(value)}")
    for problem in report.problems:
        console.print(f"   [red]✗[/] {escape(problem)}")
    if not report.sound:
        console.print(
            "\n Check the disk. Then let the other members fill an empty volume in its place, if they are a majority;\n"
            " docs/failures.md says how."
        )


def _is_blank(report: Report) -> bool:
    return report.blank and report.sound


def _facts(report: Report) -> list[tuple[str, str]]:
    facts = []
    if report.member is not None:
        facts.append(("member", f"{report.member}, incarnation {report.incarnation}, start {report.generation}"))
        facts.append(("cluster", f"{report.cluster}" if report.cluster else "none yet"))
    if report.term is not None:
        facts.append(("term", f"{report.term}, {f'voted for {report.vote}' if report.vote else 'no vote'}"))
    if report.membership is not None:
        facts.append(("voters", names(report.membership.voters)))
        if report.membership.learners:
            facts.append(("learners", names(report.membership.learners)))
    if report.member is not None:
        facts.append(("log", _log(report)))
    if report.snapshot_index is not None and report.snapshot_bytes is not None:
        facts.append(("snapshot", f"up to {report.snapshot_index}, {in_words(report.snapshot_bytes)}"))
    if report.files:
        facts.append(("files", ", ".join(f"{name} {in_words(size)}" for name, size in report.files.items())))
    return facts


def _log(report: Report) -> str:
    if report.last_index == report.base_index:
        return f"empty, after {report.base_index}"
    return f"{report.base_index + 1} to {report.last_index}, ending in term {report.last_term}"
