"""How long what a node does all the while took, for its metrics: since its start, in seconds."""

from raftq_k8s.node.distribution import Distribution

_WRITES_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_ELECTIONS_S = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 4.0, 8.0, 30.0, 120.0)


class Timings:
    def __init__(self) -> None:
        self.persist = Distribution(_WRITES_S)
        """Each write of the volume, from when it is handed over until the node hears that it is synced."""
        self.commit = Distribution(_WRITES_S)
        """Each command that came in here, until it is committed and applied here."""
        self.election = Distribution(_ELECTIONS_S)
        """Each change of leader, for as long as nobody was known to lead."""
