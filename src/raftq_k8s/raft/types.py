"""What an int, a string or a float means where the core says it."""

from typing import NewType, TypeAlias

Term = NewType("Term", int)
Index = NewType("Index", int)
Generation = NewType("Generation", int)
"""How often a volume has been opened. The younger of two processes on one volume has the higher one."""

TransferId = NewType("TransferId", int)
"""Counts the transfers of leadership that one leader began in its term."""

MemberId = NewType("MemberId", str)
"""A member's name, stable over restarts and changes of address: `NAME-0` in a StatefulSet."""

ClusterId = NewType("ClusterId", str)
Incarnation = NewType("Incarnation", str)
"""Drawn when a volume is first used: a member whose volume was lost comes back as another incarnation."""

BootId = NewType("BootId", str)
"""Drawn when a process starts."""

Milliseconds: TypeAlias = float
Instant: TypeAlias = float
"""Milliseconds on the caller's clock, which may stand anywhere at the start but never goes back."""

NO_INDEX = Index(0)
"""The position before the first entry."""

NO_TERM = Term(0)

NO_TRANSFER = TransferId(0)
"""Below every transfer."""

LONGEST_STEP = 1 << 32
"""How far above its own a node believes a term that it did not hear from a member: whoever may write on a pod could
otherwise lead all members to the end of all terms, from which there is no way back."""
