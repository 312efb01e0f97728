"""Measured here: what the core, its log and the simulator take; what a durable put and a linearizable get cost; how
fast a leader is replaced or hands over; what an agent takes, idle, after many puts, at a start, with many listeners."""
