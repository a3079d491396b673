"""Helpers by the names that programs call them by, and the kernel functions behind them.

Loaded instructions name the function that the kernel calls, which for some helpers depends on
the type of the program. Written by hand from the ``struct bpf_func_proto`` of ``kernel/bpf``,
``kernel/trace/bpf_trace.c`` and ``net/core/filter.c`` of Linux 6.18.
"""

from __future__ import annotations

from pybpftool.errors import BpfError
from pybpftool.uapi.helpers import helper_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.kernel.interface import Kernel

FUNCTIONS: dict[str, tuple[str, ...]] = {
    "bpf_get_prandom_u32": ("bpf_user_rnd_u32",),
    "bpf_perf_event_output": (
        "bpf_perf_event_output_tp",
        "bpf_perf_event_output_raw_tp",
        "bpf_skb_event_output",
        "bpf_xdp_event_output",
        "bpf_event_output_data",
        "bpf_sockopt_event_output",
    ),
    "bpf_get_stackid": ("bpf_get_stackid_tp", "bpf_get_stackid_raw_tp", "bpf_get_stackid_pe"),
    "bpf_get_stack": (
        "bpf_get_stack_tp",
        "bpf_get_stack_raw_tp",
        "bpf_get_stack_pe",
        "bpf_get_stack_sleepable",
    ),
    "bpf_redirect": ("bpf_xdp_redirect",),
    "bpf_redirect_map": ("bpf_xdp_redirect_map",),
    "bpf_sk_redirect_map": (),
    "bpf_fib_lookup": ("bpf_skb_fib_lookup", "bpf_xdp_fib_lookup"),
    "bpf_check_mtu": ("bpf_skb_check_mtu", "bpf_xdp_check_mtu"),
    "bpf_trace_printk": ("bpf_trace_vprintk",),
    "bpf_get_socket_cookie": (
        "bpf_get_socket_cookie_sock",
        "bpf_get_socket_cookie_sock_addr",
        "bpf_get_socket_cookie_sock_ops",
        "bpf_get_socket_ptr_cookie",
    ),
    "bpf_setsockopt": (
        "bpf_sk_setsockopt",
        "bpf_sock_addr_setsockopt",
        "bpf_sock_ops_setsockopt",
        "bpf_unlocked_sk_setsockopt",
    ),
    "bpf_getsockopt": (
        "bpf_sk_getsockopt",
        "bpf_sock_addr_getsockopt",
        "bpf_sock_ops_getsockopt",
        "bpf_unlocked_sk_getsockopt",
    ),
    "bpf_sk_lookup_tcp": (
        "bpf_tc_sk_lookup_tcp",
        "bpf_xdp_sk_lookup_tcp",
        "bpf_sock_addr_sk_lookup_tcp",
    ),
    "bpf_sk_lookup_udp": (
        "bpf_tc_sk_lookup_udp",
        "bpf_xdp_sk_lookup_udp",
        "bpf_sock_addr_sk_lookup_udp",
    ),
    "bpf_skc_lookup_tcp": (
        "bpf_tc_skc_lookup_tcp",
        "bpf_xdp_skc_lookup_tcp",
        "bpf_sock_addr_skc_lookup_tcp",
    ),
    "bpf_sk_storage_get": ("bpf_sk_storage_get_tracing",),
    "bpf_sk_storage_delete": ("bpf_sk_storage_delete_tracing",),
    "bpf_task_storage_get": ("bpf_task_storage_get_recur",),
    "bpf_task_storage_delete": ("bpf_task_storage_delete_recur",),
    "bpf_get_attach_cookie": (
        "bpf_get_attach_cookie_trace",
        "bpf_get_attach_cookie_kprobe_multi",
        "bpf_get_attach_cookie_uprobe_multi",
        "bpf_get_attach_cookie_pe",
        "bpf_get_attach_cookie_tracing",
    ),
    "bpf_get_func_ip": (
        "bpf_get_func_ip_kprobe",
        "bpf_get_func_ip_kprobe_multi",
        "bpf_get_func_ip_uprobe_multi",
        "bpf_get_func_ip_tracing",
    ),
    "bpf_probe_read": ("bpf_probe_read_compat",),
    "bpf_probe_read_str": ("bpf_probe_read_compat_str",),
    "bpf_send_signal": ("bpf_send_signal_thread",),
    "bpf_spin_lock": ("notrace_____bpf_spin_lock",),
    "bpf_msg_redirect_map": (),
    "bpf_skb_load_bytes": ("bpf_flow_dissector_load_bytes", "sk_skb_load_bytes"),
    "bpf_skb_pull_data": ("sk_skb_pull_data",),
    "bpf_skb_change_tail": ("sk_skb_change_tail",),
    "bpf_skb_change_head": ("sk_skb_change_head",),
    "bpf_skb_adjust_room": ("sk_skb_adjust_room",),
    "bpf_bind": (),
    # Per-type look-ups that the verifier puts in place of the general ones.
    "bpf_map_lookup_elem": (
        "__htab_map_lookup_elem",
        "array_map_lookup_elem",
        "htab_lru_map_lookup_elem",
    ),
    "bpf_map_update_elem": ("htab_map_update_elem", "array_map_update_elem"),
    "bpf_map_delete_elem": ("htab_map_delete_elem",),
}
"""Helper -> functions that may stand for it; one that is not here has a function of its name."""

_HELPERS = {function: helper for helper, several in FUNCTIONS.items() for function in several}


def names_of(function: str) -> tuple[str, ...]:
    """What a kernel function that is called may be called by: itself, and the helper's name."""
    helper = _HELPERS.get(function)
    return (function,) if helper is None else (function, helper)


def is_function(kernel: Kernel, name: str) -> bool:
    """Whether programs can call such a function: a helper, or one that this kernel has.

    Patterns may mean any, and so does every name where the kernel's symbols cannot be read.
    """
    if any(mark in name for mark in "*?[!") or name in FUNCTIONS or name in _HELPERS:
        return True
    if name in helper_names():
        return True
    word = f" {name}".encode("utf-8", "surrogateescape")
    try:
        symbols = kernel.file("/proc/kallsyms")
    except BpfError:
        return True
    return not symbols or any(word + end in symbols for end in (b"\n", b"\t"))
