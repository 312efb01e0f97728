"""An application that learns from a file whether it leads: python by_file.py leader.json

The agent beside it runs with --application-file leader.json. Before each act the file is looked at; what it said a
moment ago does not count. Standard library only.
"""

import json
import sys
import time
from pathlib import Path


def leads_in(path: Path) -> int | None:
    """The term in which this process leads right now; `None` when it does not, or nobody knows."""
    try:
        said = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None
    if said["role"] != "leader" or time.time() >= said["valid_until"]:
        return None
    return int(said["term"])


def main() -> None:
    path, told = Path(sys.argv[1]), 0
    while True:
        term = leads_in(path) or 0
        if term:
            pass  # the leader's work goes here, a short piece at a time
        if term != told:
            print(f"leading in term {term}" if term else "not leading", flush=True)
            told = term
        time.sleep(0.05)


if __name__ == "__main__":
    main()
