"""The state machine that the log drives: a JSON document with revisions in `document.py`, client sessions in
`sessions.py`, what the members agreed on in `agreements.py`, together in `machine.py`; their commands in `commands.py`,
all of it as bytes in `snapshot.py`, and the latest changes in `journal.py`."""
