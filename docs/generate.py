"""Writes the tables of these pages anew that say what the code says: the settings in configuration.md, from the struct
that the agent itself reads its settings by, in consensus.md the tests of each scenario, from their numbers, in
simulator.md the kinds of faults, and in cli.md the commands and the examples of their help.

`generate.py --check` changes nothing and ends with exit code 1 when a page is not up to date.
"""

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from typer.main import get_command

from raftq_k8s.agent.settings import CHAPTERS
from raftq_k8s.agent.sources import Explained, explained
from raftq_k8s.cli.commands import application
from raftq_k8s.sim.faults import KINDS, SCRIPTED

HERE = Path(__file__).parent
TESTS = HERE.parent / "tests"


class Table(NamedTuple):
    page: Path
    name: str
    """Stands in the marks around the table."""
    renewed: Callable[[str], str]
    """What stands there now -> what should."""


def settings_table(_: str) -> str:
    settings = explained()
    lines: list[str] = []
    for title, keys in CHAPTERS.items():
        lines += [f"### {title}", "| setting | default | meaning |", "| --- | --- | --- |"]
        lines += [_row(settings[key]) for key in keys]
        lines.append("")
    return "\n".join(lines) + "\n"


def _row(setting: Explained) -> str:
    default = "" if setting.default in ("", None) else f"`{setting.default}`"
    choices = f" ({', '.join(f'`{choice}`' for choice in setting.choices)})" if len(setting.choices) > 1 else ""
    meaning = setting.description.replace("|", "\\|")
    return f"| `{setting.key}` | {default} | {meaning}{choices} |"


def scenario_table(old: str) -> str:
    """The number and the name of a scenario are the page's own; its tests are those that bear the number."""
    tests: dict[int, list[str]] = {}
    for file in sorted(TESTS.rglob("test_*.py")):
        for test, number in re.findall(r"^(?:async )?def (test_(\d\d)_\w+)", file.read_text(), re.MULTILINE):
            tests.setdefault(int(number), []).append(f"[`{test}`](../tests/{file.relative_to(TESTS)})")
    names = {int(number): name for number, name in re.findall(r"^\| (\d+) \| ([^|]+) \|", old, re.MULTILINE)}
    if names.keys() != tests.keys():
        raise SystemExit(f"consensus.md: scenarios without a test or a row: {sorted(names.keys() ^ tests.keys())}")
    rows = [f"| {number} | {name} | {'<br>'.join(tests[number])} |" for number, name in sorted(names.items())]
    return "\n".join(["| # | scenario | test |", "| --- | --- | --- |", *rows]) + "\n"


def fault_table(_: str) -> str:
    rows = [f"| `{kind}` | {what} |" for kind, what in {**KINDS, **SCRIPTED}.items()]
    return "\n".join(["| kind | what goes wrong |", "| --- | --- |", *rows]) + "\n"


_EVERYWHERE = {"--help", "--server", "--token-file", "--json"}
_MARKUP = re.compile(r"\[/?(?:bold)?\]")


def command_table(_: str) -> str:
    """What `raftq --help` lists, under the same headings, and the examples of each command's help."""
    tables: dict[str, list[str]] = {}
    examples: list[str] = []
    for panel, words, command in _commands():
        tables.setdefault(panel, []).append(f"| `{_usage(words, command)}` | {_purpose(command)} |")
        examples += _examples(command)
    lines = []
    for panel, rows in tables.items():
        lines += [f"### {panel}", "| command | what it does |", "| --- | --- |", *rows, ""]
    return "\n".join([*lines, "### Examples", "```", *examples, "```", ""])


def _commands() -> Iterator[tuple[str, list[str], Any]]:
    for name, command in getattr(get_command(application), "commands", {}).items():
        if command.hidden:
            continue
        for inner, below in getattr(command, "commands", {}).items():
            yield command.rich_help_panel, ["raftq", name, inner], below
        if not hasattr(command, "commands"):
            yield command.rich_help_panel, ["raftq", name], command


def _usage(words: Sequence[str], command: Any) -> str:
    parts = list(words)
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = parameter.metavar or parameter.name.upper()
            parts.append(name if parameter.required or name.startswith("[") else f"[{name}]")
        elif not _EVERYWHERE & set(parameter.opts):
            value = "" if parameter.is_flag else f" {parameter.metavar or parameter.name.upper()}"
            option = f"{parameter.opts[0]}{value}"
            parts.append(option if parameter.required else f"[{option}]")
    return " ".join(parts).replace("|", "\\|")


def _purpose(command: Any) -> str:
    return _MARKUP.sub("", " ".join(command.help.partition("\n\n")[0].split())).replace("|", "\\|")


def _examples(command: Any) -> list[str]:
    return [
        text.replace("\\[", "[") for text in re.findall(r"\[bold\](raftq .*?|kubectl .*?)\[/\]", command.epilog or "")
    ]


TABLES = (
    Table(HERE / "configuration.md", "settings", settings_table),
    Table(HERE / "cli.md", "commands", command_table),
    Table(HERE / "consensus.md", "scenarios", scenario_table),
    Table(HERE / "simulator.md", "faults", fault_table),
)


def renewed(table: Table) -> str:
    begin, end = f"<!-- {table.name}: begin -->\n", f"<!-- {table.name}: end -->"
    before, begun, rest = table.page.read_text().partition(begin)
    old, ended, after = rest.partition(end)
    if not (begun and ended):
        raise SystemExit(f"{table.page.name}: the marks of the table are missing")
    return before + begin + table.renewed(old) + end + after


def main() -> int:
    pages = {table.page: renewed(table) for table in TABLES}
    if "--check" in sys.argv[1:]:
        return int(any(page.read_text() != text for page, text in pages.items()))
    for page, text in pages.items():
        page.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
