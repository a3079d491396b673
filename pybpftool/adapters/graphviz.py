"""Pictures of graphs, by Graphviz through the package graphviz."""

from __future__ import annotations

from pybpftool.adapters import missing
from pybpftool.errors import BpfError

FORMATS = ("svg", "png", "pdf")
"""What :func:`picture` makes."""


def picture(dot: str, form: str) -> bytes:
    """The picture of a graph.

    :param dot: the graph in Graphviz's language.
    :param form: one of :data:`FORMATS`.

    Raises BpfError where Graphviz is missing or fails.
    """
    try:
        import graphviz
    except ImportError as error:
        raise missing("drawing", "graphviz", error) from None
    try:
        data: bytes = graphviz.Source(dot).pipe(format=form, quiet=True)
    except graphviz.ExecutableNotFound:
        raise BpfError(
            "drawing needs the program 'dot', which is not installed (package graphviz); 'visual'"
            " alone prints the graph's text"
        ) from None
    except graphviz.CalledProcessError as error:
        lines = (error.stderr or b"").decode("utf-8", "replace").strip().splitlines()
        reason = lines[-1] if lines else f"exit status {error.returncode}"
        raise BpfError(f"the program 'dot' failed: {reason}") from None
    except OSError as error:
        raise BpfError(f"cannot run the program 'dot': {error.strerror}") from None
    return data
