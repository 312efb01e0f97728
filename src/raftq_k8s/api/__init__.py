"""The HTTP face of a node, for people, probes and applications."""
