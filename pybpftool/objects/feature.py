"""What a kernel's BPF can do, as ``feature probe`` tells it: text, C macros or JSON."""

from __future__ import annotations

from errno import ENODATA

from pybpftool.errors import KernelError
from pybpftool.records import Record
from pybpftool.uapi.helpers import helper_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pybpftool.kernel.interface import Kernel

# Setting -> what its values mean, for a value that cannot be read, for any other.
_MEANINGS: dict[str, tuple[tuple[str, ...], str, str]] = {
    "unprivileged_bpf_disabled": (
        (
            "bpf() syscall for unprivileged users is enabled",
            "bpf() syscall restricted to privileged users (without recovery)",
            "bpf() syscall restricted to privileged users (admin can change)",
        ),
        "Unable to retrieve required privileges for bpf() syscall",
        "bpf() syscall restriction has unknown value %d",
    ),
    "bpf_jit_enable": (
        (
            "JIT compiler is disabled",
            "JIT compiler is enabled",
            "JIT compiler is enabled with debugging traces in kernel logs",
        ),
        "Unable to retrieve JIT-compiler status",
        "JIT-compiler status has unknown value %d",
    ),
    "bpf_jit_harden": (
        (
            "JIT compiler hardening is disabled",
            "JIT compiler hardening is enabled for unprivileged users",
            "JIT compiler hardening is enabled for all users",
        ),
        "Unable to retrieve JIT hardening status",
        "JIT hardening status has unknown value %d",
    ),
    "bpf_jit_kallsyms": (
        (
            "JIT compiler kallsyms exports are disabled",
            "JIT compiler kallsyms exports are enabled for root",
        ),
        "Unable to retrieve JIT kallsyms export status",
        "JIT kallsyms exports status has unknown value %d",
    ),
    "bpf_jit_limit": (
        (),
        "Unable to retrieve global memory limit for JIT compiler for unprivileged users",
        "Global memory limit for JIT compiler for unprivileged users is %d bytes",
    ),
}

OPTIONS = (
    *("CONFIG_BPF", "CONFIG_BPF_SYSCALL", "CONFIG_HAVE_EBPF_JIT", "CONFIG_BPF_JIT"),
    *("CONFIG_BPF_JIT_ALWAYS_ON", "CONFIG_DEBUG_INFO_BTF", "CONFIG_DEBUG_INFO_BTF_MODULES"),
    *("CONFIG_CGROUPS", "CONFIG_CGROUP_BPF", "CONFIG_CGROUP_NET_CLASSID"),
    *("CONFIG_SOCK_CGROUP_DATA", "CONFIG_BPF_EVENTS", "CONFIG_KPROBE_EVENTS"),
    *("CONFIG_UPROBE_EVENTS", "CONFIG_TRACING", "CONFIG_FTRACE_SYSCALLS"),
    *("CONFIG_FUNCTION_ERROR_INJECTION", "CONFIG_BPF_KPROBE_OVERRIDE", "CONFIG_NET"),
    *("CONFIG_XDP_SOCKETS", "CONFIG_LWTUNNEL_BPF", "CONFIG_NET_ACT_BPF", "CONFIG_NET_CLS_BPF"),
    *("CONFIG_NET_CLS_ACT", "CONFIG_NET_SCH_INGRESS", "CONFIG_XFRM", "CONFIG_IP_ROUTE_CLASSID"),
    *("CONFIG_IPV6_SEG6_BPF", "CONFIG_BPF_LIRC_MODE2", "CONFIG_BPF_STREAM_PARSER"),
    *("CONFIG_NETFILTER_XT_MATCH_BPF", "CONFIG_TEST_BPF", "CONFIG_HZ"),
)
"""Options of the kernel's build that BPF depends on."""

_MACRO_OPTIONS = ("CONFIG_HZ",)  # the one that programs compute with
_CONFIG_MARK = b"# Automatically generated file; DO NOT EDIT.\n"
_MAX_CONFIG = 1 << 24

_MISC = {
    "large_insn_limit": "Large program size limit",
    "bounded_loops": "Bounded loop support",
    "v2_isa_extension": "ISA extension v2",
    "v3_isa_extension": "ISA extension v3",
    "v4_isa_extension": "ISA extension v4",
}


class Features(Record):
    """The answers. ``sysctls`` and ``config`` are None where there was no file to read.

    ``refused`` counts the questions that were not permitted, whose answer is no;
    ``missing`` has a sentence for each part that could not be asked for.
    """

    sysctls: dict[str, int] | None
    config: dict[str, str | None] | None
    syscall: bool
    prog_types: dict[str, bool]
    map_types: dict[str, bool]
    helpers: dict[str, list[str]]
    misc: dict[str, bool]
    is_device: bool = False
    full: bool = False
    refused: int = 0
    missing: tuple[str, ...] = ()

    def text(self) -> str:
        """As bpftool prints them."""
        return "".join(self._text_sections())

    def _text_sections(self) -> Iterator[str]:
        if not self.is_device:
            yield "Scanning system configuration...\n"
            for name, value in (self.sysctls or {}).items():
                yield _meaning(name, value) + "\n"
            for name, option in (self.config or {}).items():
                yield f"{name} is not set\n" if option is None else f"{name} is set to {option}\n"
            yield "\n"
        yield "Scanning system call availability...\n"
        yield f"{_available('bpf() syscall', self.syscall)}\n"
        if not self.syscall:
            return
        yield "Scanning eBPF program types...\n"
        for name, known in self.prog_types.items():
            yield _available(f"eBPF program_type {name}", known)
        yield "\nScanning eBPF map types...\n"
        for name, known in self.map_types.items():
            yield _available(f"eBPF map_type {name}", known)
        yield "\nScanning eBPF helper functions...\n"
        for name, found in self.helpers.items():
            yield f"eBPF helpers supported for program type {name}:"
            yield "".join([f"\n\t- {helper}" for helper in found]) + "\n"
            if not found:
                yield (
                    "\tCould not determine which helpers are available\n"
                    if self.prog_types[name]
                    else "\tProgram type not supported\n"
                )
        yield "\nScanning miscellaneous eBPF features...\n"
        for name, known in self.misc.items():
            yield _available(_MISC[name], known)
        yield "\n"

    def macros(self, prefix: str) -> str:
        """As C macros whose names begin with ``prefix``."""
        return "".join(self._macro_sections(prefix))

    def _macro_sections(self, prefix: str) -> Iterator[str]:
        def have(name: str, known: bool) -> str:
            return f"#define {prefix}{'' if known else 'NO_'}HAVE_{name.upper()}\n"

        if not self.is_device:
            yield "/*** Misc kernel config items ***/\n"
            for name in _MACRO_OPTIONS if self.config is not None else ():
                value = (self.config or {})[name]
                yield (
                    f"/* {prefix}{name} is not set */\n"
                    if value is None
                    else f"#define {prefix}{name} {value}\n"
                )
            yield "\n"
        yield f"/*** System call availability ***/\n{have('BPF_SYSCALL', self.syscall)}\n"
        if not self.syscall:
            return
        yield "/*** eBPF program types ***/\n"
        for name, known in self.prog_types.items():
            yield have(f"{name}_prog_type", known)
        yield "\n/*** eBPF map types ***/\n"
        for name, known in self.map_types.items():
            yield have(f"{name}_map_type", known)
        yield "\n/*** eBPF helper functions ***/\n"
        yield _HOW_TO_ASK.replace("@", prefix)
        wanted = asked_helpers(self.full)
        for name, found in self.helpers.items():
            there = set(found)
            start = f"#define {prefix}BPF__PROG_TYPE_{name}__HELPER_"
            yield "".join([f"{start}{each} {'1' if each in there else '0'}\n" for each in wanted])
        yield "\n/*** eBPF misc features ***/\n"
        for name, known in self.misc.items():
            yield have(name, known)
        yield "\n"

    def json(self) -> dict[str, Any]:
        """As bpftool's JSON."""
        sections: dict[str, Any] = {}
        if not self.is_device:
            sections["system_config"] = {**(self.sysctls or {}), **(self.config or {})}
        sections["syscall_config"] = {"have_bpf_syscall": self.syscall}
        if not self.syscall:
            return sections
        return {
            **sections,
            "program_types": {f"have_{n}_prog_type": known for n, known in self.prog_types.items()},
            "map_types": {f"have_{n}_map_type": known for n, known in self.map_types.items()},
            "helpers": {f"{n}_available_helpers": found for n, found in self.helpers.items()},
            "misc": {f"have_{n}": known for n, known in self.misc.items()},
        }


# What a C program is to be told; the names of the macros are bpftool's.
_HOW_TO_ASK = """\
/*
 * Use @HAVE_PROG_TYPE_HELPER(prog_type_name, helper_name)
 * to determine if <helper_name> is available for <prog_type_name>,
 * e.g.
 *	#if @HAVE_PROG_TYPE_HELPER(xdp, bpf_redirect)
 *		// do stuff with this helper
 *	#elif
 *		// use a workaround
 *	#endif
 */
#define @HAVE_PROG_TYPE_HELPER(prog_type, helper)	\\
	@BPF__PROG_TYPE_ ## prog_type ## __HELPER_ ## helper
"""


def asked_helpers(full: bool) -> list[str]:
    """The helpers that are asked about."""
    loud = ("bpf_trace_printk", "bpf_trace_vprintk", "bpf_probe_write_user")
    return [name for name in helper_names()[1:] if full or name not in loud]


def _available(what: str, known: bool) -> str:
    return f"{what} is available\n" if known else f"{what} is NOT available\n"


def _meaning(name: str, value: int) -> str:
    known, unreadable, other = _MEANINGS[name]
    if value == -1:
        return unreadable
    return known[value] if 0 <= value < len(known) else other % value


def collect(
    kernel: Kernel, full: bool = False, unprivileged: bool = False, ifindex: int = 0
) -> Features:
    """Ask for everything, of the kernel or of the network device ``ifindex``.

    ``full`` asks also for helpers that make the kernel write to its log; ``unprivileged``
    asks as a user without capabilities. Raises KernelError if we may not ask.
    """
    try:
        found = kernel.features(full, unprivileged, ifindex)
    except KernelError as error:
        if error.errno != ENODATA:
            raise
        sentence = "this snapshot was recorded without what 'feature probe' finds"
        if full or unprivileged or ifindex:
            sentence = (
                "a snapshot has what 'feature probe' finds, not what it finds with 'full', with"
                " 'unprivileged' or on a device"
            )
        raise KernelError(sentence, ENODATA) from None
    missing: list[str] = []
    config = None
    if not ifindex:
        if found["sysctls"] is None:
            missing.append("the settings of BPF are left out: /proc is not mounted")
        try:
            config = kernel_config(kernel)
        except KernelError as error:
            missing.append(f"the kernel's configuration is left out: {error}")
    return Features(
        found["sysctls"],
        config,
        found["syscall"],
        found["prog_types"],
        found["map_types"],
        found["helpers"],
        found["misc"],
        is_device=bool(ifindex),
        full=full,
        refused=found["refused"],
        missing=tuple(missing),
    )


def kernel_config(kernel: Kernel) -> dict[str, str | None]:
    """The values of :data:`OPTIONS`, None for those that are not set.

    From ``/boot/config-RELEASE``, else ``/proc/config.gz``. Raises KernelError.
    """
    path = f"/boot/config-{kernel.release}"
    try:
        data = kernel.file(path)
    except KernelError:
        path = "/proc/config.gz"
        data = kernel.file(path)
    if data.startswith(b"\x1f\x8b"):
        import zlib

        try:
            data = zlib.decompressobj(31).decompress(data, _MAX_CONFIG)
        except zlib.error:
            raise KernelError(f"{path} is damaged", 0) from None
    lines = data.splitlines(keepends=True)
    if len(lines) < 2 or lines[1] != _CONFIG_MARK:
        raise KernelError(f"{path} is not the configuration of a kernel", 0)
    values: dict[str, str] = {}
    for line in lines[2:]:
        name, is_set, value = line.rstrip(b"\n").partition(b"=")
        if is_set and value and name.startswith(b"CONFIG_"):
            values.setdefault(name.decode("latin-1"), value.decode("utf-8", "surrogateescape"))
    return {name: values.get(name) for name in OPTIONS}
