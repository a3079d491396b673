"""Recording a whole machine: the collectors of all commands that read, one after the other.

Each asks what one family of commands asks, with the readers that the commands use. What
they learn is thrown away: the kernel that they ask keeps the answers. A kernel's refusal
is an answer too.
"""

from __future__ import annotations

from pybpftool.errors import BpfError, KernelError, VanishedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.kernel.interface import BpfObject, Kernel
    from pybpftool.objects.map import Map
    from pybpftool.objects.net import NetworkReader

VMLINUX = "/sys/kernel/btf/vmlinux"

FILES = (
    "/proc/kallsyms",
    "/proc/sys/kernel/bpf_stats_enabled",
    "/proc/sys/kernel/kptr_restrict",
    "/proc/sys/net/core/bpf_jit_enable",
    "/proc/sys/net/core/bpf_jit_harden",
    "/proc/sys/net/core/bpf_jit_kallsyms",
    "/sys/devices/system/cpu/possible",
    VMLINUX,
)
"""Files that dumps read."""


def record(kernel: Kernel, elements: bool = True) -> None:
    """Ask everything that commands ask, the ``elements`` of maps only if wanted.

    Raises BpfError where no kind of object may be listed at all.
    """
    refused: list[BpfError] = []

    def without_elements(kernel: Kernel) -> None:
        record_maps(kernel, False)

    from pybpftool.inspect.doctor import STATS_INODE
    from pybpftool.inspect.guesses import ITERATOR_INODE

    listings = (
        record_programs,
        record_maps if elements else without_elements,
        record_btf,
        record_links,
    )
    for collect in listings:
        try:
            collect(kernel)
        except BpfError as error:
            refused.append(error)
    if len(refused) == len(listings):
        raise refused[0]
    for kind in ("prog", "map", "link"):
        _tried(kernel.iterated, kind)
    _tried(kernel.holding, STATS_INODE)
    _tried(kernel.holding, ITERATOR_INODE)
    _tried(kernel.mapped_maps)
    _tried(kernel.closed_processes)
    _tried(record_pins_elsewhere, kernel)
    others = (record_files, record_perf, record_cgroups, record_networks, record_features)
    for collect in others:
        _tried(collect, kernel)


def record_programs(kernel: Kernel) -> None:
    """What ``prog show`` and ``prog dump`` ask."""
    from pybpftool.kernel.interface import PROG_ARRAYS
    from pybpftool.objects.prog import ProgramReader

    _tried(kernel.pinned, "prog")
    # Who holds them, _every() asks.
    read = ProgramReader(kernel, with_metadata=True).read
    types = set()

    def collect(obj: BpfObject) -> None:
        prog = read(obj)
        if prog.btf_id:
            types.add(prog.btf_id)
        try:
            if kernel.prog_arrays(obj, tuple(PROG_ARRAYS))["xlated"] is not None:
                return
        except KernelError:  # a recording need not keep them all
            for name in PROG_ARRAYS:
                _tried(kernel.prog_arrays, obj, (name,))
        # Asked for together with code that the kernel hides, it gives the others neither.
        for names in (("func_info",), ("map_ids",)):
            _tried(kernel.prog_arrays, obj, names)

    _every(kernel, "prog", collect)
    for id in types:
        _tried(kernel.btf_data, id)


def record_maps(kernel: Kernel, elements: bool = True) -> None:
    """What ``map show`` asks, and what ``dump``, ``lookup``, ``getnext`` and ``peek`` do."""
    from pybpftool.inspect.attachments import SOCKET_MAPS
    from pybpftool.objects.map import has_hash, read, tells_hash

    _tried(kernel.pinned, "map")
    types = set()

    def collect(obj: BpfObject) -> None:
        map = read(kernel, obj)
        if map.btf_id:
            types.add(map.btf_id)
        if has_hash(map) and tells_hash(obj):
            _tried(kernel.map_hash, obj)
        if map.type_name in SOCKET_MAPS:
            _tried(kernel.socket_map_programs, obj)
        if elements and map.traits.is_queue:
            _tried(kernel.lookup, obj, None)
        if elements:
            for _ in kernel.elements(obj):
                pass
        if elements and map.type_name == "stack_trace":
            _record_stacks(kernel, obj, map)

    _every(kernel, "map", collect)
    for id in types:
        _tried(kernel.btf_data, id)


def _record_stacks(kernel: Kernel, obj: BpfObject, map: Map) -> None:
    """What ``map dump … stacks`` asks about places in files."""
    from pybpftool.objects.stacks import StackReader

    reader = StackReader(kernel, obj, map)
    for id in reader.ids:
        reader.frames(id)


def record_btf(kernel: Kernel) -> None:
    """What ``btf show`` and ``btf dump`` ask, and all commands that show types."""
    from pybpftool.objects.btf import BtfReader

    try:
        read = BtfReader(kernel).read
    except BpfError:  # programs or maps may not be listed
        read = None

    def collect(obj: BpfObject) -> None:
        if read is not None:
            read(obj)
        kernel.btf_name(obj.id)
        kernel.btf_data(obj.id)

    _every(kernel, "btf", collect)
    _tried(kernel.has_file, VMLINUX)


def record_pins_elsewhere(kernel: Kernel) -> None:
    """What is pinned in other mount namespaces, and in which units and containers these are."""
    for pid in {row[3] for row in kernel.pinned_elsewhere()[0]}:
        _tried(kernel.file, f"/proc/{pid}/cgroup")


def record_files(kernel: Kernel) -> None:
    """:data:`FILES`."""
    for path in FILES:
        _tried(kernel.file, path)


def record_links(kernel: Kernel) -> None:
    """What ``link show`` asks."""
    from pybpftool.objects.link import LinkReader

    _tried(kernel.pinned, "link")
    # Who holds them, _every() asks.
    _every(kernel, "link", LinkReader(kernel, resolve=True, held={}).read)


def record_perf(kernel: Kernel) -> None:
    """What ``perf show`` asks."""
    from pybpftool.objects.perf import collect

    for pid in {event.pid for event in collect(kernel, resolve=True)}:
        _tried(kernel.file, f"/proc/{pid}/cgroup")
        _tried(kernel.file, f"/proc/{pid}/comm")


def record_cgroups(kernel: Kernel) -> None:
    """What ``cgroup show`` and ``cgroup tree`` ask, of every cgroup."""
    from pybpftool.objects.cgroup import programs_of, tree

    root = kernel.cgroup_root()
    if root is None:
        return
    try:
        paths = kernel.cgroup_paths(root)
    except KernelError:  # a recording that is older than the question
        paths = [root]
    _tried(kernel.cgroup_ids, root)
    for is_effective in (False, True):
        _tried(tree, kernel, root, is_effective)  # those of cgroups inside are parts of it
        for path in paths:
            _tried(programs_of, kernel, path, is_effective)


def record_features(kernel: Kernel) -> None:
    """What ``feature probe`` and ``token show`` ask."""
    from pybpftool.objects.feature import collect
    from pybpftool.objects.token import MOUNTS

    _tried(collect, kernel)
    _tried(kernel.file, MOUNTS)


def record_networks(kernel: Kernel) -> None:
    """What ``net show`` asks, of all network namespaces and all of their devices."""
    from pybpftool.inspect.namespaces import all_namespaces
    from pybpftool.objects.net import NetworkReader

    reader = NetworkReader(kernel, resolve=True)
    _tried(_record_network, kernel, reader, "")
    programs: list[object] = []
    _tried(lambda: programs.extend(reader.netfilter()))
    if programs:
        _tried(kernel.netfilter_programs, "")
    for namespace in all_namespaces(kernel):
        for word in (namespace.name, str(namespace.pid or ""), namespace.path):
            if word:
                _tried(kernel.namespace_path, word)
        if namespace.path:
            kernel.has_file(namespace.path)
            _tried(_record_network, kernel, reader, namespace.path)
            if programs:
                _tried(kernel.netfilter_programs, namespace.path)


def _record_network(kernel: Kernel, reader: NetworkReader, path: str) -> None:
    for device in reader.read(path).devices:
        _tried(kernel.device_index, device, path)


def _every(kernel: Kernel, kind: str, collect: Callable[[BpfObject], object]) -> None:
    """List objects with their holders; one that vanishes or tells nothing ends nothing."""
    try:
        listing = kernel.listing(kind)
        objects = listing.objects()
        # In which units and containers the holders are (inspect/owner.py).
        for pid in {pid for held in listing.held.values() for pid, _ in held}:
            _tried(kernel.file, f"/proc/{pid}/cgroup")
    except KernelError:  # nobody can tell who holds them
        objects = kernel.objects(kind)
    whole = set()
    for obj in objects:
        try:
            collect(obj)
        except VanishedError:
            continue
        except BpfError:
            pass  # the refusal is its answer
        whole.add(obj.id)
    kernel.was_read(kind, whole)


def _tried(ask: Callable[..., object], *args: object) -> None:
    """Ask a question whose refusal is kept as its answer."""
    try:
        ask(*args)
    except BpfError:
        pass
