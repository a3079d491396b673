"""``python -m pybpftool``: the same as the command ``pybpftool``."""

from pybpftool.cli.main import run

if __name__ == "__main__":
    run()
