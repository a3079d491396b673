"""What one run of the program has in hand: options, output, kernel."""

from __future__ import annotations

from pybpftool.errors import BpfError, KernelError, kind_of
from pybpftool.output.stream import Output, write_stderr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.btf.table import Btf
    from pybpftool.cli.kept_maps import KeptMaps
    from pybpftool.cli.options import Options
    from pybpftool.kernel.interface import Kernel
    from pybpftool.output.jsontext import JsonStream


class Context:
    """Options, output and kernel of one run, shared by the commands of a batch."""

    __slots__ = (
        "_base_btf",
        "_is_silent",
        "_kernel",
        "failed",
        "failure_status",
        "json",
        "kept",
        "options",
        "out",
        "place",
        "status",
    )

    def __init__(self, options: Options, out: Output, kernel: Kernel | None = None) -> None:
        self.options = options
        self.out = out
        self.json: JsonStream | None = None
        if options.json:
            from pybpftool.output.jsontext import JsonStream

            out.set_errors("backslashreplace")
            self.json = JsonStream(out, options.pretty)
        if options.escape:
            out.escape()
        self.failed = False
        self.status = 0
        """The exit status of a run that did not fail."""
        self.failure_status = 255  # upstream leaves main() with -1
        """The exit status of one that failed."""
        self.place = ""
        """What stands before each error: the file and line of a batch's command."""
        self.kept: KeptMaps | None = None
        """Maps that commands of a batch leave open for those that follow."""
        self._kernel = kernel if options.snapshot is None else None
        self._base_btf: Btf | None = None
        self._is_silent = options.debug  # the kernel, which is to tell what it refuses

    @property
    def kernel(self) -> Kernel:
        """The live kernel, or the recorded one that ``--snapshot`` names."""
        if self._kernel is None or self._is_silent:
            self._kernel = self._opened()
        return self._kernel

    def _opened(self) -> Kernel:
        kernel = self._kernel
        if kernel is None:
            if self.options.snapshot is not None:
                from pybpftool.kernel.snapshot import SnapshotKernel

                kernel = SnapshotKernel.load(self.options.snapshot)
            else:
                from pybpftool.kernel.live import LiveKernel

                kernel = LiveKernel()
                kernel.uses_iterators = not self.options.no_iter
        if self._is_silent:
            from pybpftool.kernel.telling import tell_refusals

            self._is_silent = False
            tell_refusals(kernel, self.debug)
        return kernel

    @property
    def base_btf(self) -> Btf | None:
        """The BTF that ``-B`` names, or several of them do, parsed once."""
        if self._base_btf is None and self.options.base_btf:
            from pybpftool.btf.load import stacked

            self._base_btf = stacked(self.options.base_btf, self.btf_file)
        return self._base_btf

    def btf_file(self, path: str, base: Btf | None = None) -> Btf:
        """The BTF of a file; one of /sys/kernel/btf is the recorded kernel's, if there is one."""
        from pybpftool.btf.load import SYSFS, from_file, from_kernel_file

        if path.startswith(SYSFS) and not self.kernel.is_live:
            return from_kernel_file(path, self.kernel, base)
        return from_file(path, base)

    def stay(self) -> None:
        """From now on free what refers to itself: this command does the same again and again.

        ``run()`` in :mod:`pybpftool.cli.main` leaves that out, for runs that are short.
        """
        import gc

        if not gc.isenabled():
            gc.freeze()  # what is there by now stays anyway, and is not looked through
            gc.enable()

    def show_help(self, text: str) -> None:
        """Print a help text where upstream prints it: stderr, or ``null`` as JSON."""
        if self.json is not None:
            self.json.value(None)
            return
        self.out.flush()
        write_stderr(text.encode())

    def say(self, message: str) -> None:
        """A remark on stderr; silent with JSON output, as upstream's remarks are."""
        if self.json is None:
            self.out.flush()
            _write_stderr(f"{message}\n")

    def aside(self, sentence: str) -> None:
        """A sentence on stderr, beside JSON too: what is missing in what is shown."""
        self.debug(f"{sentence}\n")

    def debug(self, text: str) -> None:
        """What is said with ``-d`` alone: on stderr, with JSON as well."""
        self.out.flush()
        _write_stderr(text)

    def error_aside(self, error: BpfError | str) -> None:
        """As :meth:`error`, but on stderr with JSON as well, whose document stays as it is."""
        self.failed = True
        self.out.flush()
        _write_stderr(f"Error: {self.place}{error}\n")

    def error(self, error: BpfError | str) -> None:
        """Report an error and go on; the run will end with a failure status."""
        self.failed = True
        message = f"{self.place}{error}"
        if self.json is not None and not self.json.is_complete:
            self.json.error(message, _classified(error) if self.options.is_full else {})
        else:
            self.out.flush()
            _write_stderr(f"Error: {message}\n")


def _classified(error: BpfError | str) -> dict[str, object]:
    """The kind of an error for programs, and the kernel's number where it has one."""
    fields: dict[str, object] = {"kind": kind_of(error)}
    if isinstance(error, KernelError) and error.errno:
        fields["errno"] = error.errno
    return fields


def _write_stderr(text: str) -> None:
    # Control characters of a hostile name must not reach a terminal.
    clean = "".join(
        c if c == "\n" or c.isprintable() or "\udc80" <= c <= "\udcff" else f"\\x{ord(c):02x}"
        for c in text
    )
    write_stderr(clean.encode("utf-8", "backslashreplace"))
