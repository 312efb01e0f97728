"""The application beside the agent: when it may run, how it is told, and who ends it when the agent cannot."""
