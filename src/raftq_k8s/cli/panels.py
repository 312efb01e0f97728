"""Under which headings `raftq --help` and the documentation list the commands."""

CLUSTER = "Ask a running cluster"
RUN = "Run"
FILES = "Files"
TRY = "Try and measure"
