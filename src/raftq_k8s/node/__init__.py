"""One running node: the pure driver, its asyncio runtime, and the `Raftq` class with its event bus."""
