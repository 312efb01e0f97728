"""The subcommands for a bad day, as typer shows them: recovery from a lost quorum, and what a snapshot is good for.
What they do is in `recover.py` and `snapshot_files.py`."""

from pathlib import Path
from typing import Annotated

import typer

from raftq_k8s.cli import panels
from raftq_k8s.cli.cluster_commands import snapshot
from raftq_k8s.cli.connecting import AsJson, Reach, Servers, TokenFile


@snapshot.command(
    epilog="For example:  [bold]raftq snapshot show backup.raftq[/]\n\n"
    "the document: [bold]raftq snapshot show backup.raftq --document > document.json[/]\n\n"
    "of a volume:  [bold]raftq snapshot show /data[/]"
)
def show(
    path: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="A saved snapshot, or the volume of an agent that does not run.")
    ],
    document: Annotated[bool, typer.Option("--document", help="Print the document alone, as JSON.")] = False,
    json: AsJson = False,
) -> None:
    """Verify a snapshot, and say what is in it. Nothing is changed.

    The exit code is 1 if it is damaged.
    """
    from raftq_k8s.cli import snapshot_files

    raise typer.Exit(snapshot_files.show(path, document=document, as_json=json))


@snapshot.command(epilog="For example:  [bold]raftq snapshot restore backup.raftq --data /data --name raftq-0[/]")
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A saved snapshot.")],
    data: Annotated[Path, typer.Option(metavar="DIR", help="An empty folder, which becomes the member's volume.")],
    name: Annotated[str, typer.Option(metavar="NAME-0", help="The member's name.")],
    json: AsJson = False,
) -> None:
    """Begin a new cluster with a snapshot: make the volume of its first member.

    Its terms and revisions begin well above those of the snapshot. Start that
    member, then the others with empty volumes: they ask to be taken in.
    """
    from raftq_k8s.cli import snapshot_files

    raise typer.Exit(snapshot_files.restore(file, data, name, as_json=json))


def recover(
    cluster: Annotated[
        str | None, typer.Argument(metavar="CLUSTER", help="The id of the cluster whose quorum is lost.")
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            metavar="CLUSTER", help="Instead: archive this agent's volume, and join that cluster with an empty one."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Give up a quorum that is lost for good: one agent goes on alone, as a new cluster with all that it holds.

    What the others had committed and it had not received is lost. It is the first
    agent that is named by --server, and no other; it refuses while it hears, or
    has heard a moment ago, anybody who leads. docs/recovery.md says what comes
    before and after.
    """
    from raftq_k8s.cli import recover as command

    reach = Reach(server, token_file)
    if (cluster is None) == (join is None):
        raise typer.BadParameter("name the cluster that is given up, or the one to join", param_hint="'CLUSTER'")
    if cluster is not None:
        raise typer.Exit(command.recover(reach, cluster, confirmed=yes, as_json=json))
    raise typer.Exit(command.join(reach, str(join), confirmed=yes, as_json=json))


def add_to(application: typer.Typer) -> None:
    application.command(
        rich_help_panel=panels.CLUSTER,
        epilog="the survivor:  [bold]raftq recover 7f3c91d2a04be655 --server http://raftq-0:7480[/]\n\n"
        "another one:   [bold]raftq recover --join 91ab04be6557f3c2 --server http://raftq-1:7480[/]",
    )(recover)
