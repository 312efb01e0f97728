"""Measured here: how fast a killed leader is replaced, what a durable put costs, what an idle agent takes."""
