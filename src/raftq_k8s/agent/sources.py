"""Where settings come from: defaults, then a TOML file, then the environment, then flags; the later wins.

A setting `raft_port` is the TOML key `raft_port`, the variable `RAFTQ_RAFT_PORT` and the flag `--raft-port`. A name
that is no setting is an error in each of the three, because a misspelt setting is one that silently does not hold.

Kubernetes puts variables about each Service of the namespace into every container: for a release called `raftq` they
begin like ours (`RAFTQ_LEADER_SERVICE_HOST`, `RAFTQ_PORT_7480_TCP`, `RAFTQ_HTTP_PORT=tcp://…`). Those are told by their
form and passed over.
"""

import argparse
import re
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

import msgspec

from raftq_k8s.agent.settings import CHAPTERS, Settings, SettingsError

PREFIX = "RAFTQ_"
CONFIG = "RAFTQ_CONFIG"
_HELP_WIDTH = 100
_NO_SETTINGS = frozenset({CONFIG, "RAFTQ_SERVER"})
"""The latter is for the commands that speak to an agent."""
_SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SERVICE_LINK = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_LINK_URL = re.compile(r"(tcp|udp|sctp)://.*")


class Explained(msgspec.Struct, frozen=True):
    """A setting as its three doors and the documentation show it."""

    key: str
    description: str
    default: Any
    type: Any

    @property
    def flag(self) -> str:
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        return PREFIX + self.key.upper()

    @property
    def choices(self) -> tuple[str, ...]:
        """What a value can be, where that is a short list."""
        return next((get_args(part) for part in _parts(self.type) if get_origin(part) is Literal), ())

    @property
    def metavar(self) -> str:
        if self.choices:
            return "|".join(self.choices)
        return "NUMBER" if {int, float} & set(_parts(self.type)) else "TEXT"

    @property
    def expects(self) -> str:
        """What a value must be, to follow the words `is not`."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if not {int, float} & set(_parts(self.type)):
            return "a text"
        number = "a number" if float in _parts(self.type) else "a whole number"
        bounds = next(
            (part for part in _parts(self.type) if isinstance(part, msgspec.Meta) and part.ge is not None), None
        )
        return number if bounds is None else f"{number} from {bounds.ge} to {bounds.le}"


@cache
def explained() -> Mapping[str, Explained]:
    """All settings by key, in the order of the chapters."""
    fields = {field.name: field for field in msgspec.structs.fields(Settings)}
    return {
        key: Explained(key, _description(fields[key].type), fields[key].default, fields[key].type)
        for chapter in CHAPTERS.values()
        for key in chapter
    }


def load(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Raises `SettingsError`; ends the process only for `--help`."""
    flags = vars(command_line().parse_args(arguments))
    config = flags.pop("config", None) or environment.get(CONFIG)
    values = _from_pod(environment)
    if config:
        values |= _from_file(Path(config))
    values |= _from_environment(environment)
    values |= _converted({explained()[key].flag: (key, value) for key, value in flags.items()})
    return Settings(**values)


def command_line() -> argparse.ArgumentParser:
    parser = _OneLineParser(
        prog="raftq agent",
        description="One member of a cluster: elects a leader with its peers, labels its pod, keeps the document.",
        epilog="Each setting is also a variable (--raft-port: RAFTQ_RAFT_PORT) and a key of the TOML file (raft_port). "
        "A flag wins over a variable, a variable over the file.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=32, width=_help_width()),
        usage="raftq agent [--config FILE] [--SETTING VALUE]…",
    )
    parser.add_argument("--config", metavar="FILE", help=f"a TOML file of settings (variable {CONFIG})")
    settings = explained()
    for title, keys in CHAPTERS.items():
        chapter = parser.add_argument_group(title)
        for setting in map(settings.__getitem__, keys):
            default = "" if setting.default in ("", None) else f" [{setting.default}]"
            chapter.add_argument(
                setting.flag, dest=setting.key, metavar=setting.metavar, help=setting.description + default
            )
    return parser


def _help_width() -> int:
    """A terminal breaks longer lines in the middle of words."""
    return min(_HELP_WIDTH, shutil.get_terminal_size((_HELP_WIDTH + 1, 0)).columns - 1)


class _OneLineParser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise SettingsError(f'{message} (see "{self.prog} --help")')


def _from_pod(environment: Mapping[str, str]) -> dict[str, Any]:
    """What Kubernetes says of the pod, by the customary variables and the mounted service account."""
    values = {}
    if environment.get("POD_NAME"):
        values["name"] = environment["POD_NAME"]
    if environment.get("POD_NAMESPACE"):
        values["namespace"] = environment["POD_NAMESPACE"]
    elif _SERVICE_ACCOUNT_NAMESPACE.is_file():
        values["namespace"] = _SERVICE_ACCOUNT_NAMESPACE.read_text(errors="replace").strip()
    return values


def _from_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise SettingsError(f"settings file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from error
    for key in table:
        if key not in explained():
            raise SettingsError(f"settings file {path}: {key} is no setting{_similar(key, explained())}")
    return _converted({f"settings file {path}: {key}": (key, value) for key, value in table.items()})


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    settings = {setting.variable: setting for setting in explained().values()}
    found: dict[str, tuple[str, Any]] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX) or variable in _NO_SETTINGS or _by_kubernetes(variable, value):
            continue
        if variable not in settings:
            raise SettingsError(f"the variable {variable} is no setting{_similar(variable, settings)}")
        found[variable] = (settings[variable].key, value)
    return _converted(found)


def _by_kubernetes(variable: str, value: str) -> bool:
    name = variable.removeprefix(PREFIX)
    if _SERVICE_LINK.fullmatch(name):
        return True
    return (name == "PORT" or name.endswith("_PORT")) and _SERVICE_LINK_URL.fullmatch(value) is not None


def _converted(given: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """From where it was said to key and value. A text stands for any type; anything else must have the right one."""
    settings = explained()
    values = {}
    for where, (key, value) in given.items():
        try:
            values[key] = msgspec.convert(value, settings[key].type, strict=not isinstance(value, str))
        except msgspec.ValidationError as error:
            raise SettingsError(f"{where}: {value!r} is not {settings[key].expects}") from error
    return values


def _similar(name: str, names: Mapping[str, Any]) -> str:
    import difflib  # only for a mistake

    close = difflib.get_close_matches(name, names, 1)
    return f" (did you mean {close[0]}?)" if close else ""


def _parts(kind: Any) -> tuple[Any, ...]:
    """The type, and all that it is made of: annotations and the members of a union."""
    inner = () if get_origin(kind) is Literal else get_args(kind)
    return (kind, *(part for each in inner for part in _parts(each)))


def _description(kind: Any) -> str:
    assert get_origin(kind) is Annotated
    return next(part.description for part in get_args(kind) if isinstance(part, msgspec.Meta) and part.description)
