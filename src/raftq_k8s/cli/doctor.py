"""`raftq doctor`: what is wrong here, and what to do about it.

It looks from where it runs. In an agent's pod the agent's settings are in the environment, so that its volume, its
names in DNS, its rights at the API and its certificates can be looked at too; elsewhere only the cluster is, by HTTP.
Each check (`checks_here.py`, `checks_of_cluster.py`) gives findings, and none of them changes anything.
"""

import asyncio
from collections.abc import Awaitable, Sequence

import msgspec

from raftq_k8s.agent.settings import Plan
from raftq_k8s.cli.connecting import INTERRUPTED, NO, Reach, complain
from raftq_k8s.cli.finding import Finding, State

_CHECK_S = 15.0
"""One that takes longer is a finding itself."""


def doctor(reach: Reach, flags: Sequence[str], as_json: bool) -> int:
    """`flags`: settings of the agent that are not in the environment."""
    try:
        findings = asyncio.run(examine(reach, flags))
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED)
    if as_json:
        print(msgspec.json.encode({"findings": findings}).decode())
    else:
        _show(findings)
    return NO if any(finding.state is State.WRONG for finding in findings) else 0


async def examine(reach: Reach, flags: Sequence[str]) -> tuple[Finding, ...]:
    from raftq_k8s.cli import checks_here, checks_of_cluster

    plan, settings = checks_here.settings(flags)
    checks: list[tuple[str, Awaitable[Sequence[Finding]]]] = []
    if plan is not None:
        reach = _here(reach, plan)
        checks += [
            ("volume", checks_here.volume(plan)),
            ("cpu", checks_here.cpu()),
            ("names", checks_here.names(plan)),
            ("peers", checks_here.peers(plan)),
            ("certificates", checks_here.certificates(plan)),
            ("kubernetes", checks_here.kubernetes(plan)),
        ]
    checks.append(("cluster", checks_of_cluster.cluster(reach)))
    found = await asyncio.gather(*(_bounded(name, check) for name, check in checks))
    return (settings, *(finding for findings in found for finding in findings))


def _here(reach: Reach, plan: Plan) -> Reach:
    """Who else is not named is the agent of this place."""
    host, port = plan.settings.http_host or "127.0.0.1", plan.settings.http_port
    return reach if reach.servers else reach._replace(servers=[f"http://{f'[{host}]' if ':' in host else host}:{port}"])


async def _bounded(name: str, check: Awaitable[Sequence[Finding]]) -> Sequence[Finding]:
    try:
        async with asyncio.timeout(_CHECK_S):
            return await check
    except TimeoutError:
        return [Finding(name, State.WRONG, f"this check did not end within {_CHECK_S:g} s", "look at the node itself")]


def _show(findings: Sequence[Finding]) -> None:
    from rich.console import Group
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    from raftq_k8s.cli.showing import show

    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for width in (1, None, None):
        table.add_column(width=width, no_wrap=width == 1, overflow="fold")
    for finding in findings:
        mark, style = _MARKS[finding.state]
        said = Text(finding.found)
        if finding.advice:
            said.append(f"\n→ {finding.advice}", "bold" if finding.state is State.WRONG else "")
        table.add_row(Text(mark, style=style), Text(finding.check, style=style), said)
    wrong = sum(finding.state is State.WRONG for finding in findings)
    notes = sum(finding.state is State.NOTE for finding in findings)
    verdict = "nothing is wrong" if not wrong else "one thing is wrong" if wrong == 1 else f"{wrong} things are wrong"
    more = "" if not notes else ", and one is worth a look" if notes == 1 else f", and {notes} are worth a look"
    summary = Text(f"{verdict}{more}", style="bold red" if wrong else "bold green")
    show(Padding(Group(table, Text(), summary), (1, 1), expand=False))


_MARKS = {
    State.WELL: ("✓", "green"),
    State.NOTE: ("!", "yellow"),
    State.WRONG: ("✗", "red"),
    State.SKIPPED: ("-", "dim"),
}
