"""`raftq`: hands over to the subcommand.

`raftq agent` runs in every pod for as long as the pod lives, so it is dispatched before typer and rich are imported:
they would stay in its memory for nothing.
"""

import sys


def main() -> None:
    if sys.argv[1:2] == ["agent"]:
        from raftq_k8s.agent.main import main as agent

        sys.exit(agent(sys.argv[2:]))

    try:
        from raftq_k8s.cli.commands import run
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        sys.exit(f'raftq: this command needs {error.name}, which the agent does without: pip install "raftq_k8s[cli]"')
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
