"""How deep functions may call themselves here: types of a hostile file nest as deep as it likes."""

from __future__ import annotations

import sys

_DEEPEST = 20000
_STACK_PER_CALL = 1024  # bytes; twice what was measured with Python 3.9 and 3.10


def recursion_limit() -> int:
    """What sys.setrecursionlimit() may be given, for data that nests deeply.

    Until 3.10 each call of a Python function takes a piece of the C stack, whose end ends
    the process; from 3.11 on it takes none.
    """
    current = sys.getrecursionlimit()
    if sys.version_info >= (3, 11):
        return max(current, _DEEPEST)
    import resource

    stack = resource.getrlimit(resource.RLIMIT_STACK)[0]
    if stack == resource.RLIM_INFINITY:
        return max(current, _DEEPEST)
    return max(current, min(_DEEPEST, stack // _STACK_PER_CALL))
