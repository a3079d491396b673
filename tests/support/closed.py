"""What this machine lets nobody look into, and how the words that look at all processes say so."""

from __future__ import annotations

from pybpftool.inspect.owners import processes_hidden
from pybpftool.kernel.live import LiveKernel

SENTENCE = processes_hidden(LiveKernel())
UNSEEN = [SENTENCE] if SENTENCE else []
ERRORS = f"Not seen: {SENTENCE}\n" if SENTENCE else ""
STATUS = 2 if SENTENCE else 0
