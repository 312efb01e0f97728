"""The `raftq` command, a file a subcommand."""
