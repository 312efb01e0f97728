"""The subcommands of `raftq data` as typer shows them. What they do is in `data.py`."""

from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from raftq_k8s.cli.connecting import AsJson, Reach, Servers, TokenFile

if TYPE_CHECKING:
    from raftq_k8s.client.writes import Expected

data = typer.Typer(
    name="data",
    help="Read, write and watch the document that the cluster replicates.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _checked(key: str | None) -> str | None:
    from raftq_k8s.client.paths import of_key

    try:
        if key is not None:
            of_key(key)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    return key


Key: TypeAlias = Annotated[str, typer.Argument(metavar="KEY", callback=_checked, help="The key.")]
Consistency: TypeAlias = Annotated[
    Literal["linearizable", "lease", "local"],
    typer.Option(
        metavar="linearizable|lease|local",
        help="What a read may miss. local: all that the agent that answers has not applied yet. Else nothing.",
    ),
]
IfRevision: TypeAlias = Annotated[
    int | None,
    typer.Option(min=0, metavar="REVISION", help="Only if this is still the revision; 0: only if there is none."),
]
IfPresent: TypeAlias = Annotated[bool, typer.Option("--if-present", help="Only if there is such a key.")]


@data.command(
    epilog="one key:     [bold]raftq data get colour[/]\n\n"
    "some keys:   [bold]raftq data get --prefix locks/[/]\n\n"
    "everything:  [bold]raftq data get[/]",
)
def get(
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", callback=_checked, help="The key; without one, the whole document.")
    ] = None,
    prefix: Annotated[str | None, typer.Option(metavar="TEXT", help="Instead: all keys that begin so.")] = None,
    text: Annotated[bool, typer.Option("--text", help="Print a text without its quotes.")] = False,
    consistency: Consistency = "linearizable",
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Print a value. The exit code is 1 if there is no such key."""
    from raftq_k8s.cli import data as command

    reach = Reach(server, token_file)
    if key is not None and prefix is not None:
        raise typer.BadParameter("a key and a prefix: only one of them", param_hint="'--prefix'")
    if key is not None:
        raise typer.Exit(command.get(reach, key, consistency=consistency, bare=text, as_json=json))
    if prefix is not None:
        raise typer.Exit(command.get_prefix(reach, prefix, consistency=consistency, as_json=json))
    raise typer.Exit(command.get_whole(reach, consistency=consistency, as_json=json))


@data.command(
    epilog="""JSON:        [bold]raftq data put colour '"blue"'[/]\n\n"""
    "a text:      [bold]raftq data put colour blue --text[/]\n\n"
    "from a file: [bold]raftq data put config - < config.json[/]\n\n"
    "once:        [bold]raftq data put owner me --text --if-revision 0[/]",
)
def put(
    key: Key,
    value: Annotated[str, typer.Argument(metavar="VALUE", help="Its value, as JSON; - reads it from standard input.")],
    text: Annotated[bool, typer.Option("--text", help="The value is a text, and no JSON.")] = False,
    if_revision: IfRevision = None,
    if_present: IfPresent = False,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Set one key, and print the revision. The exit code is 1 if a condition does not hold."""
    from raftq_k8s.cli import data as command

    expected = _expected(if_revision, if_present)
    raise typer.Exit(command.put(Reach(server, token_file), key, value, bare=text, expected=expected, as_json=json))


@data.command(
    epilog="For example:  [bold]raftq data delete colour[/]   or   [bold]raftq data delete owner --if-revision 41[/]"
)
def delete(
    key: Key,
    if_revision: IfRevision = None,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Take one key away. The exit code is 1 if there is none, or a condition does not hold."""
    from raftq_k8s.cli import data as command

    raise typer.Exit(command.delete(Reach(server, token_file), key, expected=if_revision, as_json=json))


@data.command(epilog="""For example:  [bold]raftq data patch '{"colour": "red", "size": null}'[/]""")
def patch(
    change: Annotated[
        str, typer.Argument(metavar="CHANGE", help="A merge patch (RFC 7396); null takes a key away; - reads it.")
    ],
    if_revision: IfRevision = None,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Change several keys of the document at once."""
    from raftq_k8s.cli import data as command

    raise typer.Exit(command.patch(Reach(server, token_file), change, expected=if_revision, as_json=json))


@data.command(
    epilog="save it:  [bold]raftq data get > document.json[/]\n\n"
    "set it:   [bold]raftq data replace - < document.json[/]",
)
def replace(
    document: Annotated[
        str, typer.Argument(metavar="DOCUMENT", help="The new document, as JSON; - reads it from standard input.")
    ],
    if_revision: IfRevision = None,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Replace the whole document."""
    from raftq_k8s.cli import data as command

    raise typer.Exit(command.replace(Reach(server, token_file), document, expected=if_revision, as_json=json))


@data.command(
    epilog="""For example:  [bold]raftq data txn '{"if": \\[{"key": "owner", "exists": false}], """
    """"do": \\[{"put": "owner", "value": "me"}, {"delete": "request"}]}'[/]""",
)
def txn(
    transaction: Annotated[
        str,
        typer.Argument(
            metavar="TRANSACTION", help="Conditions (if) and operations (do: put, delete, patch, replace); - reads it."
        ),
    ],
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Compare all, then change all, or nothing. The exit code is 1 if a condition does not hold."""
    from raftq_k8s.cli import data as command

    raise typer.Exit(command.transact(Reach(server, token_file), transaction, as_json=json))


@data.command(
    epilog="from now on:        [bold]raftq data watch[/]\n\n"
    "from where it was:  [bold]raftq data watch --after 41 --prefix locks/ --json[/]",
)
def watch(
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Only keys that begin so.")] = "",
    after: Annotated[
        int | None,
        typer.Option(min=0, metavar="REVISION", help="Begin behind it, not now."),
    ] = None,
    server: Servers = None,
    token_file: TokenFile = None,
    json: AsJson = False,
) -> None:
    """Print each change, a line a key, until it is interrupted; at another server when one goes away."""
    from raftq_k8s.cli import data as command

    raise typer.Exit(command.watch(Reach(server, token_file), prefix=prefix, after=after, as_json=json))


def _expected(if_revision: int | None, if_present: bool) -> "Expected":
    if not if_present:
        return if_revision
    if if_revision is not None:
        raise typer.BadParameter("--if-revision says more: only one of them", param_hint="'--if-present'")
    from raftq_k8s.client import Presence

    return Presence.PRESENT
