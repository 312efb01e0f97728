"""The process in a pod: its settings, its parts put together, its start and its end."""
