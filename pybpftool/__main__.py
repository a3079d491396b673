"""``python -m pybpftool``: the same as the command ``pybpftool``.

Python looks for modules in the working directory then: it goes before anything is
imported from there, since a root tool runs no ``struct.py`` that happens to lie about.
"""

import sys


def _forget_working_directory() -> None:
    import posix

    try:
        here = posix.getcwd()
    except OSError:
        here = ""
    sys.path[:] = [place for place in sys.path if place not in ("", ".", here)]


def _read_names_as_bytes() -> None:
    """Start again with UTF-8 where the locale has another encoding, which knows fewer names."""
    if sys.flags.utf8_mode or sys.getfilesystemencoding() == "utf-8" or not sys.executable:
        return
    import posix

    try:
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read().split(b"\0")[:-1]
        posix.execv(sys.executable, [words[0], b"-X", b"utf8", *words[1:]])
    except OSError:
        return


if __name__ == "__main__":
    _forget_working_directory()
    _read_names_as_bytes()
    try:
        from pybpftool.cli.main import run
    except Exception as error:
        told = f"a part of Python or of pybpftool cannot be loaded: {error!r}"
        print("Error:", told, file=sys.stderr)
        sys.exit(255)
    run()
