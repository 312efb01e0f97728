"""Versions of what nodes say and write.

Release N speaks N and N - 1, so that a cluster can be upgraded one node at a time, and go back. Two nodes talk when
their ranges meet. Commands and formats that N - 1 does not understand are not used before every member understands
them: the *version of the cluster*, which stands in the membership, is raised by the leader through the log, and never
falls. From then on a node that does not understand it is refused, and one that finds it in its own log stops.
"""

import msgspec


class Versions(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """From the oldest to the newest, both included."""

    oldest: int
    newest: int

    def meet(self, other: "Versions") -> bool:
        return self.oldest <= other.newest and other.oldest <= self.newest


SPOKEN = Versions(1, 1)
"""By this release."""
