"""Names of sections from which a program's type follows, as libbpf 1.8 knows them.

``kprobe/do_exit``: the type comes before the slash, what to attach to after it.
"""

from __future__ import annotations

# Program type -> section names; those that end in '+' may be followed by '/target'.
_BY_TYPE = {
    "socket_filter": "socket",
    "sk_reuseport": "sk_reuseport sk_reuseport/migrate",
    "kprobe": "kprobe+ kretprobe+ uprobe+ uprobe.s+ uretprobe+ uretprobe.s+ kprobe.multi+"
    " kretprobe.multi+ kprobe.session+ uprobe.multi+ uprobe.multi.s+ uretprobe.multi+"
    " uretprobe.multi.s+ uprobe.session+ uprobe.session.s+ ksyscall+ kretsyscall+ usdt+ usdt.s+",
    "sched_cls": "tc tc/ingress tc/egress tcx/ingress tcx/egress classifier netkit/primary"
    " netkit/peer",
    "sched_act": "action",
    "tracepoint": "tracepoint+ tracepoint.s+ tp+ tp.s+",
    "raw_tracepoint": "raw_tracepoint+ raw_tracepoint.s+ raw_tp+ raw_tp.s+",
    "raw_tracepoint_writable": "raw_tracepoint.w+ raw_tp.w+",
    "tracing": "tp_btf+ tp_btf.s+ fentry+ fentry.s+ fexit+ fexit.s+ fmod_ret+ fmod_ret.s+"
    " fsession+ fsession.s+ fentry.multi+ fentry.multi.s+ fexit.multi+ fexit.multi.s+"
    " fsession.multi+ fsession.multi.s+ iter+ iter.s+",
    "ext": "freplace+",
    "lsm": "lsm+ lsm.s+ lsm_cgroup+",
    "syscall": "syscall",
    "xdp": "xdp xdp/devmap xdp/cpumap xdp.frags xdp.frags/devmap xdp.frags/cpumap",
    "perf_event": "perf_event",
    "lwt_in": "lwt_in",
    "lwt_out": "lwt_out",
    "lwt_xmit": "lwt_xmit",
    "lwt_seg6local": "lwt_seg6local",
    "sock_ops": "sockops",
    "sk_skb": "sk_skb sk_skb/stream_parser sk_skb/stream_verdict sk_skb/verdict",
    "sk_msg": "sk_msg",
    "lirc_mode2": "lirc_mode2",
    "flow_dissector": "flow_dissector",
    "cgroup_skb": "cgroup/skb cgroup_skb/ingress cgroup_skb/egress",
    "cgroup_sock": "cgroup/sock cgroup/sock_create cgroup/sock_release cgroup/post_bind4"
    " cgroup/post_bind6",
    "cgroup_sock_addr": "cgroup/bind4 cgroup/bind6 cgroup/connect4 cgroup/connect6"
    " cgroup/connect_unix cgroup/sendmsg4 cgroup/sendmsg6 cgroup/sendmsg_unix cgroup/recvmsg4"
    " cgroup/recvmsg6 cgroup/recvmsg_unix cgroup/getpeername4 cgroup/getpeername6"
    " cgroup/getpeername_unix cgroup/getsockname4 cgroup/getsockname6 cgroup/getsockname_unix",
    "cgroup_sysctl": "cgroup/sysctl",
    "cgroup_sockopt": "cgroup/getsockopt cgroup/setsockopt",
    "cgroup_device": "cgroup/dev",
    "struct_ops": "struct_ops+ struct_ops.s+",
    "sk_lookup": "sk_lookup",
    "netfilter": "netfilter",
}


def program_type(section: str) -> str:
    """The type of the programs in a section, as ``prog show`` calls it; "" for an unknown name."""
    head = section.partition("/")[0] + "+"
    for kind, names in _BY_TYPE.items():
        if section in names:  # cheaper than to split them all
            words = names.split()
            if section in words or head in words:
                return kind
        elif head in names and head in names.split():
            return kind
    return ""
