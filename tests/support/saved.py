"""Fake kernels as snapshots in files."""

from __future__ import annotations

from pathlib import Path

from pybpftool.inspect.recorder import record
from pybpftool.kernel.interface import Kernel
from pybpftool.kernel.recording import RecordingKernel


def save(kernel: Kernel, path: Path) -> str:
    """Record a kernel into a file, whose path comes back."""
    recording = RecordingKernel(kernel)
    record(recording)
    path.write_bytes(recording.archive())
    return str(path)
