"""What changes the running kernel.

Nothing below the command line and the library's writable objects imports this package;
every function that changes something begins with :func:`require_live`.
"""

from __future__ import annotations

from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import Kernel


def require_live(kernel: Kernel) -> None:
    """Refuse what would change a recorded kernel."""
    if not kernel.is_live:
        raise BpfError("a recorded kernel cannot be changed")
