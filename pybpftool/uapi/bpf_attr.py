"""What each command of bpf(2) takes: the arms of ``union bpf_attr`` of include/uapi/linux/bpf.h.

Fields stand in their order, each aligned to its size; ``tests/uapi/test_bpf_attr.py`` holds them
against the BTF of the running kernel. After a colon stands what a field is, a number of 32 bits
where there is nothing:

``map`` ``prog`` ``attach``           the number of a map type, program type, attach type
``map_flags`` ``prog_flags`` …        bits with names, of :data:`FLAGS`
``i``                                 a number of 32 bits with a sign
``q``                                 a number of 64 bits
``p``                                 an address of the caller's memory
``s``                                 the address of a text
``n``                                 a name of 16 bytes
"""

from __future__ import annotations

_ELEM = "map_fd key:p value:p flags:q:elem_flags"
_BATCH = "in_batch:p out_batch:p keys:p values:p count map_fd elem_flags:q:elem_flags flags:q"
_BY_ID = " next_id open_flags:map_flags fd_by_id_token_fd:i"
_OBJ = "pathname:s bpf_fd file_flags:map_flags path_fd:i"
_ATTACH = (
    "target_fd attach_bpf_fd attach_type:attach attach_flags:attach_flags replace_bpf_fd"
    " relative_fd expected_revision:q"
)

COMMANDS: dict[str, str] = {
    "BPF_MAP_CREATE": (
        "map_type:map key_size value_size max_entries map_flags:map_flags inner_map_fd numa_node"
        " map_name:n map_ifindex btf_fd btf_key_type_id btf_value_type_id btf_vmlinux_value_type_id"
        " map_extra:q value_type_btf_obj_fd:i map_token_fd:i excl_prog_hash:p excl_prog_hash_size"
    ),
    "BPF_MAP_LOOKUP_ELEM": _ELEM,
    "BPF_MAP_UPDATE_ELEM": _ELEM,
    "BPF_MAP_DELETE_ELEM": "map_fd key:p",
    "BPF_MAP_GET_NEXT_KEY": "map_fd key:p next_key:p",
    "BPF_PROG_LOAD": (
        "prog_type:prog insn_cnt insns:p license:s log_level log_size log_buf:p kern_version"
        " prog_flags:prog_flags prog_name:n prog_ifindex expected_attach_type:attach prog_btf_fd"
        " func_info_rec_size func_info:p func_info_cnt line_info_rec_size line_info:p line_info_cnt"
        " attach_btf_id attach_prog_fd core_relo_cnt fd_array:p core_relos:p core_relo_rec_size"
        " log_true_size prog_token_fd:i fd_array_cnt signature:p signature_size keyring_id:i"
    ),
    "BPF_OBJ_PIN": _OBJ,
    "BPF_OBJ_GET": _OBJ,
    "BPF_PROG_ATTACH": _ATTACH,
    "BPF_PROG_DETACH": _ATTACH,
    "BPF_PROG_TEST_RUN": (
        "prog_fd retval data_size_in data_size_out data_in:p data_out:p repeat duration ctx_size_in"
        " ctx_size_out ctx_in:p ctx_out:p flags cpu batch_size"
    ),
    "BPF_PROG_GET_NEXT_ID": "start_id next_id open_flags:map_flags",
    "BPF_MAP_GET_NEXT_ID": "start_id next_id open_flags:map_flags",
    "BPF_PROG_GET_FD_BY_ID": "prog_id" + _BY_ID,
    "BPF_MAP_GET_FD_BY_ID": "map_id" + _BY_ID,
    "BPF_OBJ_GET_INFO_BY_FD": "bpf_fd info_len info:p",
    "BPF_PROG_QUERY": (
        "target_fd attach_type:attach query_flags attach_flags:attach_flags prog_ids:p prog_cnt"
        " prog_attach_flags:p link_ids:p link_attach_flags:p revision:q"
    ),
    "BPF_RAW_TRACEPOINT_OPEN": "name:s prog_fd cookie:q",
    "BPF_BTF_LOAD": (
        "btf:p btf_log_buf:p btf_size btf_log_size btf_log_level btf_log_true_size btf_flags"
        " btf_token_fd:i"
    ),
    "BPF_BTF_GET_FD_BY_ID": "btf_id" + _BY_ID,
    "BPF_TASK_FD_QUERY": ("pid fd flags buf_len buf:p prog_id fd_type probe_offset:q probe_addr:q"),
    "BPF_MAP_LOOKUP_AND_DELETE_ELEM": _ELEM,
    "BPF_MAP_FREEZE": "map_fd",
    "BPF_BTF_GET_NEXT_ID": "start_id next_id open_flags:map_flags",
    "BPF_MAP_LOOKUP_BATCH": _BATCH,
    "BPF_MAP_LOOKUP_AND_DELETE_BATCH": _BATCH,
    "BPF_MAP_UPDATE_BATCH": _BATCH,
    "BPF_MAP_DELETE_BATCH": _BATCH,
    "BPF_LINK_CREATE": "prog_fd target_fd attach_type:attach flags",
    "BPF_LINK_UPDATE": "link_fd new_prog_fd flags:attach_flags old_prog_fd",
    "BPF_LINK_GET_FD_BY_ID": "link_id" + _BY_ID,
    "BPF_LINK_GET_NEXT_ID": "start_id next_id open_flags:map_flags",
    "BPF_ENABLE_STATS": "type",
    "BPF_ITER_CREATE": "link_fd flags",
    "BPF_LINK_DETACH": "link_fd",
    "BPF_PROG_BIND_MAP": "prog_fd map_fd flags",
    "BPF_TOKEN_CREATE": "flags bpffs_fd",
    "BPF_PROG_STREAM_READ_BY_FD": "stream_buf:p stream_buf_len stream_id prog_fd",
    "BPF_PROG_ASSOC_STRUCT_OPS": "map_fd prog_fd flags",
}
"""Command, by its number -> its fields."""

LINK_ARMS: dict[str, tuple[str, str]] = {
    "trace_iter": ("", "iter_info:p iter_info_len"),
    "perf_event": ("perf_event", "bpf_cookie:q"),
    "trace_kprobe_multi": ("kprobe_multi", "flags cnt syms:p addrs:p cookies:p"),
    "trace_kprobe_session": ("kprobe_multi", "flags cnt syms:p addrs:p cookies:p"),
    "trace_uprobe_multi": (
        "uprobe_multi",
        "path:p offsets:p ref_ctr_offsets:p cookies:p cnt flags pid",
    ),
    "trace_uprobe_session": (
        "uprobe_multi",
        "path:p offsets:p ref_ctr_offsets:p cookies:p cnt flags pid",
    ),
    "netfilter": ("netfilter", "pf hooknum priority:i flags"),
    "tcx_": ("tcx", "relative_fd expected_revision:q"),
    "netkit_": ("netkit", "relative_fd expected_revision:q"),
    "cgroup_": ("cgroup", "relative_fd expected_revision:q"),
    "trace_": ("tracing", "target_btf_id cookie:q"),
    "modify_return": ("tracing", "target_btf_id cookie:q"),
    "lsm_cgroup": ("cgroup", "relative_fd expected_revision:q"),
    "lsm": ("tracing", "target_btf_id cookie:q"),
}
"""Beginning of an attach type -> the arm of ``link_create`` after its flags, and its fields."""
LINK_ARM_AT = 16

FLAGS: dict[str, tuple[str, ...]] = {
    "map_flags": (
        *("no_prealloc", "no_common_lru", "numa_node", "rdonly", "wronly", "stack_build_id"),
        *("zero_seed", "rdonly_prog", "wronly_prog", "clone", "mmapable", "preserve_elems"),
        *("inner_map", "link", "path_fd", "vtype_btf_obj_fd", "token_fd", "segv_on_fault"),
        *("no_user_conv", "rb_overwrite"),
    ),
    "prog_flags": (
        *("strict_alignment", "any_alignment", "test_rnd_hi32", "test_state_freq", "sleepable"),
        *("xdp_has_frags", "xdp_dev_bound_only", "test_reg_invariants"),
    ),
    "elem_flags": ("noexist", "exist", "lock"),
    "attach_flags": (
        *("allow_override", "allow_multi", "replace", "before", "after", "id", "preorder"),
    ),
}
"""The names of bits, from the lowest one on (BPF_F_*, without that)."""
