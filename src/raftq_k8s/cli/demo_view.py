"""The demo on a terminal: one calm picture, redrawn in place, that stays when the demo is over.

Green leads or is well, red is dead or lost; nothing else is coloured. What there is to see is the scene's.
"""

import asyncio
import time
from collections.abc import Iterable

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from raftq_k8s.cli.demo import Kill, Report, Scene
from raftq_k8s.node.status import RaftRole

_REDRAWN_A_SECOND = 8
_KILLS_SHOWN = 8
_BAR_OF_ONE_SECOND = 40
_RATE_OF_LAST = 8
_LEVELS = "▁▂▃▄▅▆▇█"


class LiveView:
    settle_s = 1.5

    def __init__(self) -> None:
        self._scene: Scene | None = None
        self._report: Report | None = None
        self._live = Live(
            console=Console(highlight=False),
            get_renderable=self._picture,
            auto_refresh=False,
        )
        self._redrawing: asyncio.Task[None] | None = None

    def __enter__(self) -> "LiveView":
        self._live.start()
        self._redrawing = asyncio.create_task(self._redraw())
        return self

    def __exit__(self, *_: object) -> None:
        if self._redrawing is not None:
            self._redrawing.cancel()
        self._live.stop()

    def show(self, scene: Scene) -> None:
        self._scene = scene

    def tell(self, line: str) -> None: ...

    def conclude(self, report: Report) -> None:
        self._report = report

    async def _redraw(self) -> None:
        while True:
            self._live.refresh()
            await asyncio.sleep(1 / _REDRAWN_A_SECOND)

    def _picture(self) -> RenderableType:
        if self._scene is None:
            return Text()
        return Padding(Group(*parts(self._scene, self._report)), (1, 1))


def parts(scene: Scene, report: Report | None) -> Iterable[RenderableType]:
    yield _title(scene)
    yield Text()
    yield _members(scene)
    yield Text()
    yield _writes(scene)
    yield Text()
    yield from _timeline(scene.kills, scene.kills_wanted)
    if report is not None:
        yield Text()
        mark = Text("✓ ", style="bold green") if report.sound else Text("✗ ", style="bold red")
        first, *others = report.sentences()
        yield mark + Text(first, style="bold" if report.sound else "bold red")
        yield from (Text(f"  {other}") for other in others)


def _title(scene: Scene) -> Text:
    minutes, seconds = divmod(int(time.monotonic() - scene.began), 60)
    return Text.assemble(
        ("raftq demo", "bold"),
        (f" · {len(scene.cluster.agents)} agents on this machine · {minutes}:{seconds:02d} · {scene.doing}", "dim"),
    )


def _members(scene: Scene) -> Table:
    table = Table(box=None, padding=(0, 3, 0, 0), header_style="dim")
    table.add_column(" ", width=1, no_wrap=True)
    table.add_column("member", width=9)
    table.add_column("role", width=12)
    for heading in ("term", "commit", "applied"):
        table.add_column(heading, justify="right", width=8)
    for agent in scene.cluster.agents:
        seen = scene.seen.get(agent.name)
        if not agent.running:
            table.add_row("✗", agent.name, "killed", "-", "-", "-", style="red")
        elif seen is None:
            table.add_row("·", agent.name, "starting", "-", "-", "-", style="dim")
        else:
            mark, style = ("●", "green") if seen.role is RaftRole.LEADER else (" ", "")
            numbers = (str(seen.term), f"{seen.commit_index:,}", f"{seen.applied_index:,}")
            table.add_row(mark, agent.name, seen.role.name.lower(), *numbers, style=style)
    return table


def _writes(scene: Scene) -> Group:
    ledger, rates = scene.ledger, scene.rates
    strip = Text()
    highest = max(rates, default=0.0) or 1.0
    for rate in rates:
        if rate:
            strip.append(_LEVELS[min(len(_LEVELS) - 1, int(rate / highest * len(_LEVELS)))], "green")
        else:
            strip.append("·", "red")
    lately = list(rates)[-_RATE_OF_LAST:]
    rate = sum(lately) / len(lately) if lately else 0.0
    said = Text.assemble(
        ("client  ", "dim"),
        f"{len(ledger.acknowledged):,} puts acknowledged",
        (f" · {rate:.0f}/s · {ledger.refused} refused · {ledger.unknown} unknown", "dim"),
    )
    legend = Text("        puts in each 1/8 s, · none; refused: not done; unknown: no answer came", style="dim")
    return Group(said, Text("        ") + strip, legend)


def _timeline(kills: list[Kill], wanted: int) -> Iterable[Text]:
    yield Text(f"kills   {len(kills)} of {wanted} · from the kill to the next put, ━ is 25 ms", style="dim")
    for number, kill in list(enumerate(kills, 1))[-_KILLS_SHOWN:]:
        yield Text.assemble(
            (f"{number:6d}  ", "dim"),
            f"{kill.victim} → {kill.successor}  ",
            (f"{kill.failover_s:5.2f} s  ", "bold"),
            ("━" * max(1, round(kill.failover_s * _BAR_OF_ONE_SECOND)), "green"),
        )
