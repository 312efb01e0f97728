"""`raftq run -- COMMAND`: COMMAND runs in one place at a time, where the leader is.

This process becomes the watchdog (`agent/application/watchdog.py`), which starts and ends COMMAND. When that may be is
said by the process that it starts first: an agent of its own, a member of the cluster like any other; or, with
`--server`, one that asks an agent that runs already (`cli/following.py`).
"""

import argparse
import errno
import json
import os
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

from raftq_k8s.agent.application import watchdog

_NOT_FOUND = 127
_LONGEST_NAME = 107
_LOOK_AGAIN_S = 0.2
_USAGE = "raftq run [--SETTING VALUE]… -- COMMAND\n       raftq run --server URL [--token-file FILE] -- COMMAND"


def main(arguments: Sequence[str]) -> int:
    """Returns only when nothing was run: 2 for wrong arguments, 127 for a COMMAND that is not there."""
    own, command = _divided(list(arguments))
    if not command:
        if {"-h", "--help"} & set(own) or not own:
            print(_help())
            return 0
        print('raftq run: no COMMAND: it follows after -- (see "raftq run --help")', file=sys.stderr)
        return 2
    if shutil.which(command[0]) is None:
        print(f"raftq run: {command[0]}: there is no such command", file=sys.stderr)
        return _NOT_FOUND
    source = _following(own) if any(word.partition("=")[0] == "--server" for word in own) else _agent(own)
    return _become_watchdog(command, source)


def _divided(words: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in words:
        return words, []
    place = words.index("--")
    return words[:place], words[place + 1 :]


def _agent(settings: list[str]) -> list[str]:
    return [*_python("raftq_k8s.cli.main"), "agent", *settings, "--application-watchdog"]


def _following(own: list[str]) -> list[str]:
    parser = argparse.ArgumentParser(prog="raftq run", usage=_USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument("--server", required=True)
    parser.add_argument("--token-file", default=os.environ.get("RAFTQ_TOKEN_FILE", ""))
    given = parser.parse_args(own)
    _be_the_only_one(given.server)
    return [*_python("raftq_k8s.cli.following"), given.server, given.token_file]


def _be_the_only_one(server: str) -> None:
    """Two that ask one agent would both run COMMAND. The name of a socket is the lock: it needs no file, holds for all
    containers of a pod, and is kept by this process, whatever it becomes: so it outlives a COMMAND that takes its time
    to end."""
    lock = socket.socket(socket.AF_UNIX)
    told = False
    while True:
        try:
            lock.bind(f"\0raftq-run {server}"[:_LONGEST_NAME])
            break
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        if not told:
            told = True
            print(f"raftq run: waiting for another one that asks {server}", file=sys.stderr, flush=True)
        time.sleep(_LOOK_AGAIN_S)
    os.set_inheritable(lock.detach(), True)


def _python(module: str) -> list[str]:
    return [sys.executable, "-m", module]


def _become_watchdog(command: list[str], source: list[str]) -> NoReturn:
    """In an interpreter that loads the standard library and nothing else."""
    given = json.dumps({"command": command, "source": source})
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-I", "-S", watchdog.__file__, given])


def _help() -> str:
    return f"""usage: {_USAGE}

Run COMMAND only where the leader is: in one place at a time. It is started
with RAFTQ_ROLE=leader and RAFTQ_TERM, the fencing token, in its environment,
asked to end by SIGTERM when another member is to lead, and killed with all
that it started when it takes too long, or when its agent has died or stands
still.

Without --server this is a member of the cluster, with the settings of raftq
agent (raftq agent --help). When COMMAND ends by itself, the leadership goes to
another member; this one stays a member.

With --server, an agent that runs beside this one says when (its settings:
application_mode exclusive and application_signal put). The exit code is that
of COMMAND.

for example:
  raftq run --name raftq-0 --service raftq-headless -- python3 worker.py
  raftq run --server http://127.0.0.1:7480 -- python3 worker.py"""
