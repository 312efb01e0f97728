"""Stable storage: the door is in `volume.py`, the default volume in `sqlite.py`, one for tests in `memory.py`."""
