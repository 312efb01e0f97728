"""`raftq simulate`: clusters in one thread, from seeds, with faults and without mercy.

What is run and what must hold is in `raftq_k8s.sim`; here stands how it is asked for and shown: a bar with figures on
a terminal, plain lines in a pipe, one JSON object when that is wanted.
"""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table

from raftq_k8s.cli.replay import is_trace
from raftq_k8s.cli.replay import replay as replay_trace
from raftq_k8s.sim.campaign import Caught, Story, Summary, hunt, run_seeds, story_of
from raftq_k8s.sim.cluster import Result, run
from raftq_k8s.sim.faults import KINDS, SCRIPTED, told
from raftq_k8s.sim.mutations import MUTATIONS

_STORIES = 3
"""Violations whose plans are made smaller: that takes a while for each."""
_SAY_EVERY_S = 5.0


class BadFaults(Exception):
    """A kind of fault that does not exist."""


def kinds_of(names: str) -> tuple[str, ...]:
    """The kinds that a comma-separated list names; all for an empty one. Raises `BadFaults`."""
    kinds = tuple(name.strip() for name in names.split(",") if name.strip())
    unknown = [kind for kind in kinds if kind not in {**KINDS, **SCRIPTED}]
    if unknown:
        raise BadFaults(f"no such fault: {', '.join(unknown)}; there are {', '.join([*KINDS, *SCRIPTED])}")
    if len({kind in SCRIPTED for kind in kinds}) > 1:
        raise BadFaults(f"{' and '.join(SCRIPTED)} are scripts, which run on their own: name no other faults with them")
    return kinds or tuple(KINDS)


def simulate(seeds: int, base: int, kinds: tuple[str, ...], seconds: float, as_json: bool) -> int:
    console = Console(stderr=as_json)
    summary = Summary()
    began = time.monotonic()
    wanted = range(base, base + seeds)
    for result in _watched(run_seeds(wanted, kinds, seconds), seeds, console, quiet=as_json):
        summary.add(result)
    took = time.monotonic() - began
    stories = [story_of(result, kinds, seconds) for result in summary.violating[:_STORIES]]
    files = [_saved(story) for story in stories]
    if as_json:
        print(json.dumps({"first_seed": base, **_as_json(summary, stories, files)}))
    else:
        _tell(summary, took, base, console)
        for story, file in zip(stories, files, strict=True):
            _tell_story(story, file, kinds, seconds, console)
        for result in summary.violating[_STORIES:]:
            assert result.violation is not None
            console.print(f"seed {result.seed}: {result.violation.invariant}: {result.violation.what}", markup=False)
    return 1 if summary.violating else 0


def replay(file: Path, as_json: bool) -> int:
    """Run the plan of a file again, step by step as it was; or, where it is a trace, what one driver lived through."""
    console = Console(stderr=as_json)
    try:
        if is_trace(file):
            return replay_trace(file, as_json)
        story = msgspec.json.decode(file.read_bytes(), type=Story)
    except OSError as error:
        print(f"raftq: {file} cannot be replayed: {error.strerror}", file=sys.stderr)
        return 2
    except msgspec.DecodeError as error:
        what = "it is neither an agent's trace nor a story that raftq simulate saved"
        print(f"raftq: {file} cannot be replayed: {what}: {error}", file=sys.stderr)
        return 2
    result = run(story.plan)
    summary = Summary()
    summary.add(result)
    found = result.violation
    if as_json:
        print(json.dumps(_as_json(summary, [], [])))
    elif found is None:
        console.print(f"no violation in {result.steps} steps; {story.smallest.invariant} was broken when it was saved")
    else:
        again = Story(story.found, found, story.plan)
        _tell_plan(again, console)
    return 1 if found is not None else 0


def hunt_mutations(base: int, as_json: bool) -> int:
    """Each mutation has to be caught. The exit code says whether all were."""
    console = Console(stderr=as_json)
    names = [mutation.name for mutation in MUTATIONS]
    caught = list(_watched_hunt(hunt(names, base), len(names), console, quiet=as_json))
    if as_json:
        print(json.dumps({"mutations": [{"name": c.name, "caught_by": c.caught_by, "seed": c.seed} for c in caught]}))
    else:
        table = Table("mutation", "what it does", "caught by", "seed", box=None)
        for one in caught:
            table.add_row(
                one.name, one.what, one.caught_by or "[red]nothing[/]", "" if one.seed is None else str(one.seed)
            )
        console.print(table)
    return 0 if all(one.caught_by for one in caught) else 1


# -------------------------------------------------------------------------------------------------------- what is shown


def _watched(results: Iterable[Result], total: int, console: Console, *, quiet: bool) -> Iterable[Result]:
    if quiet:
        yield from results
        return
    if not console.is_terminal:
        yield from _said_plainly(results, total)
        return
    columns = (
        SpinnerColumn(),
        BarColumn(bar_width=10),
        MofNCompleteColumn(table_column=Column(min_width=2 * len(str(total)) + 1)),
        TimeRemainingColumn(table_column=Column(min_width=len("0:00:00"))),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("the first ones run", total=total)
        faults = elections = violations = 0
        began = time.monotonic()
        for done, result in enumerate(results, start=1):
            faults += sum(result.faults.values())
            elections += result.elections
            violations += result.violation is not None
            rate = done / (time.monotonic() - began)
            # On a narrow terminal the end is cut off.
            said = f"{violations} violations · {_rate(rate)} · {faults} faults · {elections} elections"
            progress.update(task, advance=1, description=said)
            yield result


def _said_plainly(results: Iterable[Result], total: int) -> Iterable[Result]:
    began = said_at = time.monotonic()
    for done, result in enumerate(results, start=1):
        now = time.monotonic()
        if now - said_at > _SAY_EVERY_S:
            said_at = now
            print(f"{done} of {total} seeds, {_rate(done / (now - began))}", flush=True)
        yield result


def _rate(a_second: float) -> str:
    return f"{a_second:.0f} seeds/s" if a_second >= 10 else f"{a_second:.1f} seeds/s"


def _watched_hunt(caught: Iterable[Caught], total: int, console: Console, *, quiet: bool) -> Iterable[Caught]:
    for done, one in enumerate(caught, start=1):
        if not quiet and console.is_terminal:
            console.print(f"{done}/{total} {one.name}: {one.caught_by or 'not caught'}", markup=False)
        yield one


def _tell(summary: Summary, took: float, base: int, console: Console) -> None:
    faults = ", ".join(f"{kind} {times}" for kind, times in sorted(summary.faults.items()))
    seeds = f"seed {base}" if summary.seeds == 1 else f"{summary.seeds} seeds from {base}"
    lines = (
        f"{seeds}: {summary.simulated_ms / 60_000:.1f} simulated minutes in {took:.1f} s",
        f"{summary.steps} steps, {summary.elections} elections, {summary.commits} commits, "
        f"{summary.reads} reads, {summary.lease_reads} lease reads, "
        f"{summary.snapshots} snapshots, {summary.installed} of them sent and installed",
        f"faults: {faults or 'none'}",
        f"violations: {len(summary.violating)}",
    )
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _tell_story(story: Story, file: Path, kinds: tuple[str, ...], seconds: float, console: Console) -> None:
    console.print()
    found = story.found
    lines = [f"seed {found.seed}, step {found.step}, at {found.at_ms / 1000:.3f} s: {found.invariant}: {found.what}"]
    narrowed = f" --faults {','.join(kinds)}" if kinds != tuple(KINDS) else ""
    lasting = f" --seconds {seconds:g}" if seconds != 20.0 else ""
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    _tell_plan(story, console)
    for line in (
        f"replay this story:  raftq simulate --replay {file}",
        f"the whole history:  raftq simulate --seed {found.seed} --seeds 1{narrowed}{lasting}",
    ):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _tell_plan(story: Story, console: Console) -> None:
    plan, smallest = story.plan, story.smallest
    style = "stream" if plan.stream else "datagram"
    lines = [f"{len(plan.settings)} members, {plan.clients} clients, {style} transport, {len(plan.faults)} faults:"]
    lines += [f"  {told(fault)}" for fault in plan.faults]
    lines.append(f"  step {smallest.step}, at {smallest.at_ms / 1000:.3f} s: {smallest.invariant}: {smallest.what}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _saved(story: Story) -> Path:
    file = Path(f"raftq-violation-{story.found.seed}.json")
    file.write_bytes(msgspec.json.format(msgspec.json.encode(story)))
    return file


def _as_json(summary: Summary, stories: list[Story], files: list[Path]) -> dict[str, object]:
    replays = {story.found.seed: str(file) for story, file in zip(stories, files, strict=True)}
    return {
        "seeds": summary.seeds,
        "simulated_seconds": round(summary.simulated_ms / 1000.0, 3),
        "elections": summary.elections,
        "commits": summary.commits,
        "faults": dict(sorted(summary.faults.items())),
        "violations": [
            {
                **msgspec.to_builtins(result.violation),
                "replay": replays.get(result.seed),
            }
            for result in summary.violating
        ],
    }
