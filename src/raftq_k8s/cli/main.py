"""`raftq`: hands over to the subcommand.

`raftq agent` runs in every pod for as long as the pod lives, so it is dispatched before typer and rich are imported:
they would stay in its memory for nothing. So is `raftq run`, whose command line is mostly somebody else's.
"""

import signal
import sys
from types import FrameType


def main() -> None:
    if sys.argv[1:2] == ["agent"]:
        # The first process of a container has no default for this signal, and the agent hears it only once it runs.
        signal.signal(signal.SIGTERM, _end)
        from raftq_k8s.agent.main import main as agent

        sys.exit(agent(sys.argv[2:]))

    if sys.argv[1:2] == ["run"]:
        signal.signal(signal.SIGTERM, _end)
        from raftq_k8s.cli.run import main as run_command

        sys.exit(run_command(sys.argv[2:]))

    try:
        from raftq_k8s.cli.commands import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f'raftq: this command needs {error.name}, which the agent does without: pip install "raftq_k8s[cli]"')
    sys.exit(run(sys.argv[1:]))


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
