# The first lines of the one-file edition: they find the modules in it. Old Pythons read
# this far, to be told what is needed. .ci/pyz fills in BLOBS and VERSION.

import sys

BLOBS = {}  # magic number of a Python's bytecode -> where its modules lie; 0: their sources
VERSION = ""


class Modules(object):  # noqa: UP004
    """Imports the modules of one blob: an index, then code or sources, some compressed."""

    def __init__(self, blob, place):
        import marshal

        end = 4 + int.from_bytes(blob[:4], "little")
        self.index = marshal.loads(blob[4:end])
        self.blob = memoryview(blob)[end:]
        self.place = place

    def find_spec(self, name, path=None, target=None):
        entry = self.index.get(name)
        if entry is None:
            return None
        from _frozen_importlib import ModuleSpec

        file = name.replace(".", "/") + ("/__init__.py" if entry[0] else ".py")
        origin = self.place + "/" + file
        return ModuleSpec(name, self, origin=origin, is_package=entry[0])

    def create_module(self, spec):
        return None

    def _content(self, name):
        _, begin, end, is_compressed = self.index[name]
        content = self.blob[begin:end]
        if is_compressed:
            import zlib

            content = zlib.decompress(content)
        return content

    def exec_module(self, module):
        name = module.__name__
        content = self._content(name)
        if 0 in self.index:
            code = compile(content, module.__spec__.origin, "exec", 0, True, 2)
        else:
            import marshal

            code = marshal.loads(content)
        exec(code, module.__dict__)

    def get_code(self, name):
        """What runpy and debuggers ask for."""
        import marshal

        content = self._content(name)
        return compile(content, name, "exec") if 0 in self.index else marshal.loads(content)

    def get_source(self, name):
        return None


def in_place(name):
    """The blob of this Python in the file that was started."""
    import _frozen_importlib_external
    import _io

    magic = int.from_bytes(_frozen_importlib_external.MAGIC_NUMBER[:2], "little")
    begin, end = BLOBS.get(magic) or BLOBS[0]
    with _io.open(name, "rb") as file:
        file.seek(begin)
        return file.read(end - begin)


def start(blob, name):
    """Run the command with the modules of a blob."""
    # A root tool runs no code of the working directory or of PYTHONPATH.
    import posix

    try:
        here = posix.getcwd()
    except OSError:
        here = ""
    foreign = posix.environ.get(b"PYTHONPATH", b"").decode("utf-8", "surrogateescape").split(":")
    foreign += ["", ".", here, name]
    sys.path[:] = [place for place in sys.path if place not in foreign]
    sys.meta_path.insert(0, Modules(blob, name))
    try:
        from pybpftool.cli.main import run
    except Exception as error:
        sys.stderr.write(
            "Error: a part of Python or of pybpftool cannot be loaded: %r\n" % (error,)
        )
        sys.exit(255)
    run()


if sys.version_info < (3, 9):  # noqa: UP036
    sys.stderr.write(
        "Error: pybpftool needs Python 3.9 or newer, and this is %d.%d\n" % sys.version_info[:2]
    )
    sys.exit(255)
