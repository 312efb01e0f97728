"""The subcommands of `raftq storage` as typer shows them. What they do is in `storage_check.py`."""

from pathlib import Path
from typing import Annotated

import typer

storage = typer.Typer(
    name="storage",
    help="Look at a volume that no agent runs on.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@storage.callback()
def group() -> None:
    pass


@storage.command(epilog="For example:  [bold]raftq storage check /data[/]")
def check(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of the volume: what --data names.")],
    json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Verify every record of a volume, and say what is on it. Nothing is changed.

    It reads a copy, for which the folder for temporary files (TMPDIR) needs room.
    The exit code is 1 if the volume is damaged, 2 if it cannot be looked at:
    there is none, or an agent runs on it.
    """
    from raftq_k8s.cli import storage_check

    raise typer.Exit(storage_check.run(directory, as_json=json))
