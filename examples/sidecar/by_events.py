"""An application that is told who leads: python by_events.py http://127.0.0.1:7480

The agent sends an event at each change. This is no lease: an event may come late, so whoever acts on it sends the term
along, and is refused by a term that is newer (see ../fenced_writer). Standard library only.
"""

import json
import sys
import time
from collections.abc import Iterator
from urllib.error import URLError
from urllib.request import urlopen

SILENT_FOR_S = 60
"""The agent says something much more often, if only that it is still there."""


def events(agent: str) -> Iterator[dict[str, object]]:
    with urlopen(f"{agent}/v1/leader/events", timeout=SILENT_FOR_S) as stream:
        for line in stream:
            if line.startswith(b"data:"):
                yield json.loads(line[5:])


def main() -> None:
    agent = sys.argv[1]
    while True:
        try:
            for leader in events(agent):
                if leader["id"] is None:
                    print("nobody leads", flush=True)
                elif leader["is_me"]:
                    print(f"leading in term {leader['term']}", flush=True)
                else:
                    print(f"following {leader['id']} in term {leader['term']}", flush=True)
        except (URLError, OSError):
            print("the agent is away: not leading", flush=True)
        time.sleep(1)


if __name__ == "__main__":
    main()
