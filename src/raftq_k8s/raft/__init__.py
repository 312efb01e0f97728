"""The consensus core: pure, deterministic, told the time by its caller. Its doors are in `consensus.py`."""
