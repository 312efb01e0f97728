"""The subcommands as typer shows them: what each is for, with examples. What they do is in their own files."""

import secrets
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version as installed
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from raftq_k8s.cli import cluster_commands, panels, recovery_commands
from raftq_k8s.cli.connecting import HERE, Servers, TokenFile
from raftq_k8s.cli.data_commands import data
from raftq_k8s.cli.storage_commands import storage

_UsageError = cast("type[typer.BadParameter]", typer.BadParameter.__bases__[0])
"""typer's class for all that is wrong with a command line; it has no public name."""

application = typer.Typer(
    name="raftq",
    help="Leader election and leader routing on Kubernetes: Raft in the pod, the leader's label on it, traffic behind.",
    add_completion=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    epilog="To see it work, on this machine and without Kubernetes:  [bold]raftq demo[/]",
)
cluster_commands.add_to(application)
application.add_typer(data, rich_help_panel=panels.CLUSTER)
application.add_typer(storage, rich_help_panel=panels.FILES)
recovery_commands.add_to(application)


def run(arguments: Sequence[str]) -> int:
    """The exit code; what is wrong with the arguments is said in one line."""
    try:
        return int(application(list(arguments) or ["--help"], prog_name="raftq", standalone_mode=False) or 0)
    except _UsageError as error:
        if complaint := error.format_message().rstrip("."):  # there is none where only the help is shown
            print(f'raftq: {complaint} (see "{_command(arguments)} --help")', file=sys.stderr)
        return 2
    except typer.Abort:
        return 130


def _command(arguments: Sequence[str]) -> str:
    """As far as it is one."""
    words = ["raftq"]
    offered: dict[str, Any] = getattr(typer.main.get_command(application), "commands", {})
    for argument in arguments:
        if argument not in offered:
            break
        words.append(argument)
        offered = getattr(offered[argument], "commands", {})
    return " ".join(words)


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            raise typer.BadParameter(f"{text} is not a whole number from {least} to {most}")
        return number

    return parse


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(installed("raftq_k8s"))
        raise typer.Exit


@application.callback()
def raftq(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


@application.command(
    rich_help_panel=panels.RUN,
    epilog="For example:  [bold]raftq agent --name raftq-0 --service raftq-headless --data /data[/]",
)
def agent() -> None:
    """Run one member of a cluster; this is what a pod runs. Its settings: [bold]raftq agent --help[/]."""
    raise AssertionError("raftq agent is dispatched before typer is")


@application.command(
    rich_help_panel=panels.RUN,
    name="run",
    epilog="For example:  [bold]raftq run --name raftq-0 --service raftq-headless -- python3 worker.py[/]",
)
def run_command() -> None:
    """Run a command only where the leader is, in one place at a time: [bold]raftq run --help[/]."""
    raise AssertionError("raftq run is dispatched before typer is")


@application.command(
    rich_help_panel=panels.TRY,
    epilog="For example:  [bold]raftq demo[/]   or, unattended,  [bold]raftq demo --kills 20 --json[/]",
)
def demo(
    kills: Annotated[
        int, typer.Option(parser=_whole_number(0, 1000), metavar="0-1000", help="How often the leader is killed.")
    ] = 5,
    nodes: Annotated[int, typer.Option(parser=_whole_number(3, 9), metavar="3-9", help="How many agents run.")] = 3,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end, and nothing else.")] = False,
) -> None:
    """Run agents on this machine, kill the leader again and again, and count what is lost.

    A client writes all the while, each put once and with a key of its own.
    [bold]refused[/]: not done, and said so. [bold]unknown[/]: it left and no answer came, so it
    may have been done or not. At the end every agent is asked for every put that
    was acknowledged. The exit code is 1 if one is lost or was applied twice.

    The picture shows the acknowledged puts of each eighth of a second (a red dot:
    none), and for each kill the wait for the next put as a bar: ━ is 25 ms.
    Ties are broken by the order of names, so often two agents lead in turn.
    """
    from raftq_k8s.cli.demo import run

    raise typer.Exit(run(kills=kills, nodes=nodes, as_json=json))


@application.command(
    rich_help_panel=panels.TRY,
    epilog="many seeds:   [bold]raftq simulate --seeds 1000[/]\n\n"
    "one again:    [bold]raftq simulate --seed 42 --seeds 1[/]\n\n"
    "some faults:  [bold]raftq simulate --seeds 500 --faults crash,partition[/]\n\n"
    "a trace:      [bold]raftq simulate --replay raftq-0.trace[/]",
)
def simulate(
    seeds: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="How many seeds are run, one cluster for each.")
    ] = 200,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="NUMBER", help="The first seed; drawn, and printed, if not given.")
    ] = None,
    faults: Annotated[
        str,
        typer.Option(
            metavar="KIND,KIND,…",
            help="Only these kinds of faults; all by default. One that does not exist lists them.",
        ),
    ] = "",
    seconds: Annotated[
        float, typer.Option(min=1, max=3600, metavar="SECONDS", help="Simulated time with faults, for each seed.")
    ] = 20.0,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Run the story or the trace in this file again.")
    ] = None,
    mutations: Annotated[bool, typer.Option("--mutations", help="See whether deliberate bugs are caught.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end, and nothing else.")] = False,
) -> None:
    """Run whole clusters in one thread, from seeds, through crashes, partitions and slow disks, and check every step.

    A violation is printed with its seed, the smallest plan of faults that shows
    it, and the command that replays it. The exit code is 1 if there is one, if a
    mutation is not caught, or if a trace that [bold]raftq agent --trace FILE[/] wrote does
    not come to the same again.
    """
    from raftq_k8s.cli import simulate as command

    if replay is not None:
        raise typer.Exit(command.replay(replay, json))
    if mutations:
        raise typer.Exit(command.hunt_mutations(seed or 0, json))
    try:
        kinds = command.kinds_of(faults)
    except command.BadFaults as error:
        raise typer.BadParameter(str(error), param_hint="'--faults'") from error
    base = secrets.randbelow(1 << 40) if seed is None else seed
    raise typer.Exit(command.simulate(seeds, base, kinds, seconds, json))


@application.command(
    rich_help_panel=panels.TRY,
    epilog="all of it:       [bold]raftq bench[/]\n\n"
    "only puts:       [bold]raftq bench puts --clients 64 --seconds 5[/]\n\n"
    "your cluster:    [bold]raftq bench --server http://raftq-leader:7480[/]",
)
def bench(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="puts|gets|failover", help="What is measured; all of it by default."),
    ] = None,
    clients: Annotated[
        str, typer.Option(metavar="NUMBER,NUMBER,…", help="How many ask at once, in one load after the other.")
    ] = "1,16,64",
    seconds: Annotated[float, typer.Option(min=1, max=600, metavar="SECONDS", help="How long each load lasts.")] = 5.0,
    rounds: Annotated[
        int, typer.Option(min=1, max=1000, metavar="NUMBER", help="How often the leader is killed.")
    ] = 20,
    beside: Annotated[
        str,
        typer.Option(
            metavar="NAME,NAME", help="Measured in the same run: etcd, pysyncobj, all that is installed, or none."
        ),
    ] = "all",
    server: Annotated[
        str,
        typer.Option(metavar="URL", help="A running cluster, loaded and written to in place of agents of our own."),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(envvar="RAFTQ_TOKEN_FILE", metavar="FILE", help="The token that this cluster asks for."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end, and nothing else.")] = False,
) -> None:
    """Measure durable puts, linearizable gets, and how fast a killed leader is replaced.

    Three agents run on this machine for it, and after them three processes of
    each of the others. Values have 256 bytes; they are put to a thousand keys
    called raftq-bench-0000 and so on, which a [bold]--server[/] keeps afterwards.
    wrk makes the load if it is installed, else a loop of our own, which is slower.
    """
    from raftq_k8s.cli.bench import command

    try:
        token = token_file.read_text().strip() if token_file is not None else ""
        asked = command.asked(what or (), clients, seconds, rounds, beside, server, token)
    except (command.BadArgument, OSError) as error:
        raise typer.BadParameter(str(error)) from error
    raise typer.Exit(command.run(asked, json))


@application.command(
    rich_help_panel=panels.FILES,
    epilog="three members:    [bold]raftq certs pki raftq-0 raftq-1 raftq-2[/]\n\n"
    "all pods of one:  [bold]raftq certs pki --service raftq-headless --namespace raftq[/]",
)
def certs(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the authority is, or is made.")],
    members: Annotated[list[str] | None, typer.Argument(metavar="NAME…", help="The members to make one for.")] = None,
    service: Annotated[str, typer.Option(metavar="NAME", help="The headless Service of the members.")] = "",
    namespace: Annotated[str, typer.Option(metavar="NAME", help="The Kubernetes namespace of that Service.")] = "",
    days: Annotated[int, typer.Option(min=1, max=3650, metavar="DAYS", help="How long they last.")] = 365,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object, and nothing else.")] = False,
) -> None:
    """Make an authority, and certificates of members that it signs, for mutual TLS between them.

    Run it again to renew them: running agents take new files by themselves.
    Whoever has [bold]ca.key[/] can make members; for more than a trial, use your own
    issuer.
    """
    from raftq_k8s.cli.certificates import run

    if bool(service) != bool(namespace):
        raise typer.BadParameter("--service and --namespace go together")
    raise typer.Exit(run(folder, members or [], service, namespace, days, json))


@application.command(
    rich_help_panel=panels.RUN,
    epilog="a database beside each agent:  [bold]raftq proxy --listen 127.0.0.1:5432 --port 5432 --server http://db-0:7480[/]\n\n"
    "the leader's own HTTP face:    [bold]raftq proxy --listen 127.0.0.1:8080 --port 7480[/]\n\n"
    "started by a program:          [bold]raftq proxy --listen 127.0.0.1:0 --port 5432 --json[/]",
)
def proxy(
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="PORT", help="The port on the leader's host.")],
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where clients come.")] = "127.0.0.1:7490",
    server: Servers = None,
    token_file: TokenFile = None,
    wait: Annotated[
        float, typer.Option(min=0, max=3600, metavar="SECONDS", help="How long a new session waits for a leader.")
    ] = 10.0,
    json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object a line for each event, and nothing else.")
    ] = False,
) -> None:
    """Forward a TCP port to whoever leads.

    Sessions end when another one leads: whoever leads no more must not go on with
    them. One that comes while nobody can be reached waits for a leader.

    The events of [bold]--json[/] are listening, leads, unheard (of a leader), opened and
    closed (a session, with the number of those that are open).
    """
    from raftq_k8s.cli.proxy import parse_listen, run

    try:
        where = parse_listen(listen)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--listen'") from error
    raise typer.Exit(run(server or [HERE], token_file, where, port, wait, json))


@application.command(hidden=True)
def version() -> None:
    """Print the version."""
    typer.echo(installed("raftq_k8s"))
