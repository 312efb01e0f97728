"""A job that must run once, in one place: it knows nothing of clusters but its term."""

import os
import time

term = os.environ["RAFTQ_TERM"]
print(f"working, in term {term}", flush=True)
while True:
    time.sleep(1)  # the work
