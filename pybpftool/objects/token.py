"""What bpf file systems delegate: mount options that let a BPF token be made from them."""

from __future__ import annotations

from pybpftool.records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybpftool.kernel.interface import Kernel

MOUNTS = "/proc/mounts"
_ROW = 4  # words on a line

# Our word, as upstream prints it, and the mount option (kernel/bpf/inode.c, v6.9).
_SETS = (
    ("allowed_cmds", "delegate_cmds"),
    ("allowed_maps", "delegate_maps"),
    ("allowed_progs", "delegate_progs"),
    ("allowed_attachs", "delegate_attachs"),
)
# What getmntent(3) turns back.
_ESCAPES = ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\"))


class Delegation(Record):
    """A bpf file system of which tokens can be made. Kernel: bpf_show_options(), v6.9.

    The names of what is allowed are the kernel's; ``any`` stands for everything.
    """

    path: str
    allowed_cmds: tuple[str, ...]
    allowed_maps: tuple[str, ...]
    allowed_progs: tuple[str, ...]
    allowed_attachs: tuple[str, ...]

    def text(self) -> str:
        """As bpftool prints it."""
        lines = [f"token_info  {self.path}"]
        for name, _ in _SETS:
            lines.append(f"\n\t{name}:")
            words = getattr(self, name)
            for at in range(0, len(words), _ROW):
                row = "".join([f"{word:<20s}" for word in words[at : at + _ROW]])
                lines.append(f"\n\t  {row}")
        return "".join(lines) + "\n"

    def json(self) -> dict[str, object]:
        """As bpftool's JSON."""
        return {"token_info": self.path, **{name: list(getattr(self, name)) for name, _ in _SETS}}


def collect(kernel: Kernel) -> Iterator[Delegation]:
    """The mounted bpf file systems that delegate anything. Raises KernelError without /proc."""
    for line in kernel.file(MOUNTS).split(b"\n"):
        fields = line.replace(b"\t", b" ").split(b" ")
        if len(fields) < 4 or not fields[2].startswith(b"bpf"):
            continue
        options = _text(fields[3])
        if any(option in options for _, option in _SETS):
            yield Delegation(_text(fields[1]), *[_words(options, name) for _, name in _SETS])


def _text(field: bytes) -> str:
    for escape, character in _ESCAPES:
        field = field.replace(escape, character)
    return field.decode("utf-8", "surrogateescape")


def _words(options: str, name: str) -> tuple[str, ...]:
    for option in options.split(","):
        key, is_set, value = option.partition("=")
        if is_set and key == name:
            return tuple(word for word in value.split(":") if word)
    return ()
