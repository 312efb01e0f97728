"""The state machine that the log drives: a JSON document, in `document.py`; its commands in `commands.py`."""
