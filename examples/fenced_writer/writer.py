"""What the leader runs: raftq run … --application-mode fenced -- python writer.py http://127.0.0.1:9000

It writes as long as the store takes it, and ends when it is told that its term is over.
"""

import itertools
import os
import sys
import time
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def main() -> int:
    store, term = sys.argv[1], os.environ["RAFTQ_TERM"]
    for number in itertools.count(1):
        write = Request(store, f"write {number} of term {term}\n".encode(), {"X-Term": term}, method="PUT")
        try:
            urlopen(write, timeout=5).close()
        except HTTPError as refusal:
            print(refusal.read().decode().strip(), flush=True)
            return 1
        if number == 1:
            print(f"writing in term {term}", flush=True)
        time.sleep(0.05)
    return 0


if __name__ == "__main__":
    sys.exit(main())
