"""Pictures on standard output: on a terminal fitted to it and in colour; in a pipe plain lines, none of them cut."""

import sys

from rich.console import Console, RenderableType

_IN_A_PIPE = 240
"""Columns."""


def show(picture: RenderableType) -> None:
    if sys.stdout.isatty():
        Console(highlight=False).print(picture)
        return
    console = Console(highlight=False, width=_IN_A_PIPE, color_system=None)
    with console.capture() as captured:
        console.print(picture)
    print(*(line.rstrip() for line in captured.get().splitlines()), sep="\n", flush=True)
