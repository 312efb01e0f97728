"""A whole cluster in one thread from one seed: the real core under disks and a network that fail."""
