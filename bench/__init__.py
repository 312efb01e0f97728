"""Measured here: what the core, its log and the simulator take, how fast a killed leader is replaced, what a durable
put costs, what an idle agent takes."""
