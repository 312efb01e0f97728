"""The subcommands that ask something of a running cluster, as typer shows them. What they do is in `status.py`,
`operations.py` and `doctor.py`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from raftq_k8s.cli import panels
from raftq_k8s.cli.connecting import AsJson, Reach, Servers, TokenFile

_FORM = {"help_option_names": ["-h", "--help"]}

members = typer.Typer(
    name="members",
    help="See who belongs to the cluster, and change it by hand.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings=_FORM,
)
snapshot = typer.Typer(
    name="snapshot",
    help="Save all that a cluster holds into one file, and what can be done with it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings=_FORM,
)


@members.command("list", epilog="For example:  [bold]raftq members list[/]   or   [bold]raftq members list --json[/]")
def list_members(server: Servers = None, token_file: TokenFile = None, json: AsJson = False) -> None:
    """List the members, as the leader knows them."""
    from raftq_k8s.cli import operations

    raise typer.Exit(operations.list_members(Reach(server, token_file), json))


@members.command(epilog="For example:  [bold]raftq members remove raftq-3[/]")
def remove(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="Its name.")],
    incarnation: Annotated[
        str | None, typer.Option(metavar="ID", help="Only if this is still its incarnation, as members list shows it.")
    ] = None,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Remove a member for good, as when its pod and its volume are gone.

    With that volume it never comes back; with an empty one it may, as another
    incarnation. A pod that only restarts needs no removal. It is refused while
    the others could not go on without it.
    """
    from raftq_k8s.cli import operations

    raise typer.Exit(operations.remove(Reach(server, token_file), member, incarnation, json))


@members.command(epilog="For example:  [bold]raftq members promote raftq-5[/]")
def promote(
    member: Annotated[str, typer.Argument(metavar="MEMBER", help="Its name.")],
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Let a learner vote, which otherwise happens by itself where there is room (max_voters)."""
    from raftq_k8s.cli import operations

    raise typer.Exit(operations.promote(Reach(server, token_file), member, json))


@snapshot.command(epilog="For example:  [bold]raftq snapshot save backup.raftq[/]")
def save(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to; - is standard output.")],
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Save the document and the sessions of one moment into a file, while the cluster goes on."""
    from raftq_k8s.cli import operations

    raise typer.Exit(operations.save_snapshot(Reach(server, token_file), file, force, json))


def transfer(
    to: Annotated[str | None, typer.Argument(metavar="TO", help="The member that is to lead; else the best.")] = None,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Hand the leadership over to another member, while writes go on."""
    from raftq_k8s.cli import operations

    raise typer.Exit(operations.transfer(Reach(server, token_file), to, json))


def drain(server: Servers = None, token_file: TokenFile = None, json: AsJson = False) -> None:
    """Have one agent hand over what it does: the first that is named by --server, and no other.

    It leads no more and is not ready any more, but answers and forwards until its
    process is ended, as by SIGTERM. That is for before you end it; only another
    start undoes it.
    """
    from raftq_k8s.cli import operations

    raise typer.Exit(operations.drain(Reach(server, token_file), json))


def pause(
    reason: Annotated[str, typer.Argument(metavar="REASON", help="Why; raftq status shows it.")] = "",
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Keep the cluster as it is during maintenance: no automatic transfer, promotion or removal.

    Elections go on, and the label follows them.
    """
    from raftq_k8s.cli import operations

    raise typer.Exit(operations.pause(Reach(server, token_file), reason, json))


def resume(server: Servers = None, token_file: TokenFile = None, json: AsJson = False) -> None:
    """End a pause."""
    from raftq_k8s.cli import operations

    raise typer.Exit(operations.resume(Reach(server, token_file), json))


def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on looking, until it is interrupted.")] = False,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Show at one look whether the cluster is well: who leads, since when, and what may fail next.

    The exit code is 1 while nobody leads. With --watch in a pipe, it is printed
    again whenever something has changed; with --json, an object a line.
    """
    from raftq_k8s.cli import status as command

    raise typer.Exit(command.status(Reach(server, token_file), watch=watch, as_json=json))


def doctor(
    settings: Annotated[
        list[str] | None,
        typer.Argument(metavar="-- --SETTING VALUE…", help="Settings of the agent that are not in the environment."),
    ] = None,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Look for what is wrong, here and in the cluster, and say what to do about it. Nothing is changed.

    In an agent's pod: its settings, volume, names in DNS, peers, certificates and
    rights at the API. Everywhere: the leader, the voters, clocks, labels, stalls.
    The exit code is 1 when something is wrong.
    """
    from raftq_k8s.cli import doctor as command

    raise typer.Exit(command.doctor(Reach(server, token_file), settings or [], json))


def add_to(application: typer.Typer) -> None:
    """In the order in which help lists them."""

    def command(*examples: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
        return application.command(rich_help_panel=panels.CLUSTER, epilog="\n\n".join(examples))

    command("For example:  [bold]raftq status[/]   or   [bold]raftq status --watch[/]")(status)
    application.add_typer(members, rich_help_panel=panels.CLUSTER)
    command("For example:  [bold]raftq transfer[/]   or   [bold]raftq transfer raftq-1[/]")(transfer)
    command("For example:  [bold]raftq drain --server http://raftq-1.raftq-headless:7480[/]")(drain)
    command("For example:  [bold]raftq pause 'new disks'[/]")(pause)
    command("For example:  [bold]raftq resume[/]")(resume)
    application.add_typer(snapshot, rich_help_panel=panels.CLUSTER)
    command(
        "in a pod:        [bold]kubectl exec raftq-0 -- raftq doctor[/]",
        "from elsewhere:  [bold]raftq doctor --server http://localhost:7480[/]",
        "with settings:   [bold]raftq doctor -- --name raftq-0 --data /data --peers raftq-0=10.0.0.1:7400,…[/]",
    )(doctor)
