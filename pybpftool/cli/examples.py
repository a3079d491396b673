"""Two examples of each command, for its help."""

from __future__ import annotations

# The words after `pybpftool`.
EXAMPLES = {
    "prog show": ("prog show name count_flows", "-j prog show id 42"),
    "prog dump": ("prog dump xlated id 42 linum", "prog dump joined name count_flows html p.html"),
    "prog pin": ("prog pin id 42 /sys/fs/bpf/flows", "-n prog pin name flows /run/bpf/flows"),
    "prog load": (
        "prog load flows.bpf.o /sys/fs/bpf/flows",
        "prog load flows.bpf.o /sys/fs/bpf/flows type xdp map name seen id 7",
    ),
    "prog loadall": (
        "prog loadall flows.bpf.o /sys/fs/bpf/flows pinmaps /sys/fs/bpf/maps",
        "prog loadall trace.bpf.o /sys/fs/bpf/trace autoattach",
    ),
    "prog attach": (
        "prog attach id 42 sk_skb_stream_verdict id 7",
        "prog attach pinned /sys/fs/bpf/dissect flow_dissector",
    ),
    "prog detach": (
        "prog detach id 42 sk_skb_stream_verdict id 7",
        "prog detach pinned /sys/fs/bpf/dissect flow_dissector",
    ),
    "prog tracelog": ("prog tracelog", "prog tracelog stdout id 42"),
    "prog run": (
        "prog run id 42 data_in packet.bin repeat 1000",
        "prog run name count_flows data_in packet.bin expect 2",
    ),
    "prog profile": (
        "prog profile id 42 duration 10 cycles instructions",
        "prog profile name count_flows duration 5 cycles",
    ),
    "map show": ("map show name flows", "-j map show id 7"),
    "map create": (
        "map create /sys/fs/bpf/seen type hash key 4 value 8 entries 64 name seen",
        "map create /sys/fs/bpf/log type ringbuf key 0 value 0 entries 4096 name log",
    ),
    "map dump": ("map dump name flows", "-j map dump id 7"),
    "map update": (
        "map update name seen key hex 0a 00 00 01 value hex 01 00 00 00 00 00 00 00",
        "map update id 7 key '{.pid = 1, .cpu = 2}' value =17 exist",
    ),
    "map lookup": ("map lookup id 7 key 10 0 0 1", "map lookup name flows key '{.port = 80}'"),
    "map getnext": ("map getnext id 7", "map getnext id 7 key 10 0 0 1"),
    "map delete": ("map delete id 7 key 10 0 0 1", "map delete name flows key '{.port = 80}'"),
    "map pin": ("map pin id 7 /sys/fs/bpf/flows", "map pin name flows /sys/fs/bpf/flows"),
    "map event_pipe": ("map event_pipe id 9", "map event_pipe name events cpu 0 index 0"),
    "map peek": ("map peek id 8", "-j map peek name jobs"),
    "map push": ("map push id 8 value 1 0 0 0", "map push name jobs value =17"),
    "map pop": ("map pop id 8", "-j map pop name jobs"),
    "map enqueue": ("map enqueue id 8 value 1 0 0 0", "map enqueue name jobs value =17"),
    "map dequeue": ("map dequeue id 8", "-j map dequeue name jobs"),
    "map freeze": ("map freeze id 7", "map freeze name config"),
    "link show": ("link show", "--resolve link show id 3"),
    "link pin": ("link pin id 3 /sys/fs/bpf/link", "link pin pinned /run/bpf/a /sys/fs/bpf/b"),
    "link detach": ("link detach id 3", "link detach pinned /sys/fs/bpf/link"),
    "cgroup show": (
        "cgroup show /sys/fs/cgroup/system.slice",
        "cgroup show /sys/fs/cgroup/system.slice effective",
    ),
    "cgroup tree": ("cgroup tree", "-j cgroup tree /sys/fs/cgroup/system.slice"),
    "cgroup attach": (
        "cgroup attach /sys/fs/cgroup/web cgroup_inet_egress id 42",
        "cgroup attach /sys/fs/cgroup/web cgroup_device pinned /sys/fs/bpf/dev multi",
    ),
    "cgroup detach": (
        "cgroup detach /sys/fs/cgroup/web cgroup_inet_egress id 42",
        "cgroup detach /sys/fs/cgroup/web cgroup_device pinned /sys/fs/bpf/dev",
    ),
    "perf show": ("perf show", "--resolve -j perf show"),
    "net show": ("net show dev eth0", "--resolve net show all"),
    "net attach": (
        "net attach xdpdrv id 42 dev eth0",
        "net attach tcx_ingress name count_flows dev eth0 prepend",
    ),
    "net detach": ("net detach xdp dev eth0", "net detach tcx_ingress dev eth0"),
    "feature probe": ("feature probe", "-j feature probe dev eth0"),
    "feature list_builtins": (
        "feature list_builtins prog_types",
        "feature list_builtins helpers",
    ),
    "feature diff": ("feature diff old.zip", "feature diff old.zip new.zip"),
    "btf show": ("btf show", "-j btf show id 1"),
    "btf dump": (
        "btf dump file /sys/kernel/btf/vmlinux format c",
        "-B /sys/kernel/btf/vmlinux btf dump file /sys/kernel/btf/nf_tables",
    ),
    "gen object": ("gen object all.bpf.o a.bpf.o b.bpf.o", "gen object one.bpf.o a.bpf.o"),
    "gen skeleton": (
        "gen skeleton flows.bpf.o > flows.skel.h",
        "-L gen skeleton flows.bpf.o name flows > flows.lskel.h",
    ),
    "gen subskeleton": (
        "gen subskeleton lib.bpf.o > lib.subskel.h",
        "gen subskeleton lib.bpf.o name lib > lib.subskel.h",
    ),
    "gen min_core_btf": (
        "gen min_core_btf /sys/kernel/btf/vmlinux small.btf flows.bpf.o",
        "gen min_core_btf 5.4.btf small.btf a.bpf.o b.bpf.o",
    ),
    "gen python": (
        "gen python flows.bpf.o > flows.py",
        "gen python flows.bpf.o name flows > flows.py",
    ),
    "struct_ops show": ("struct_ops show", "-j struct_ops show name my_congestion"),
    "struct_ops dump": ("struct_ops dump id 7", "-j struct_ops dump name my_congestion"),
    "struct_ops register": (
        "struct_ops register congestion.bpf.o",
        "struct_ops register congestion.bpf.o /sys/fs/bpf/congestion",
    ),
    "struct_ops unregister": (
        "struct_ops unregister id 7",
        "struct_ops unregister name my_congestion",
    ),
    "iter pin": (
        "iter pin tasks.bpf.o /sys/fs/bpf/tasks",
        "iter pin elements.bpf.o /sys/fs/bpf/elements map id 7",
    ),
    "iter show": ("iter show", "-j iter show"),
    "token show": ("token show", "-j token show"),
    "snapshot save": ("snapshot save host.zip", "snapshot save host.zip elements all"),
    "snapshot show": ("snapshot show host.zip", "-j snapshot show host.zip"),
    "obj show": ("obj show flows.bpf.o", "-j obj show flows.bpf.o"),
    "obj dis": ("obj dis flows.bpf.o", "-j obj dis flows.bpf.o"),
    "obj relocs": ("obj relocs flows.bpf.o", "-j obj relocs flows.bpf.o"),
    "obj check": (
        "obj check flows.bpf.o --against /sys/kernel/btf/vmlinux",
        "obj check flows.bpf.o --against host.zip",
    ),
    "obj verify": ("obj verify flows.bpf.o", "obj verify flows.bpf.o --csv"),
    "why prog": ("why prog name count_flows", "-j why prog id 42"),
    "why map": ("why map name flows", "why map pinned /sys/fs/bpf/flows"),
    "why link": ("why link id 3", "why link pinned /sys/fs/bpf/link"),
    "why pin": ("why pin /sys/fs/bpf/flows", "-j why pin /sys/fs/bpf/flows"),
    "why pid": ("why pid 4711", "--snapshot host.zip why pid 4711"),
    "why dev": ("why dev eth0", "why dev eth0 netns web"),
    "why cgroup": ("why cgroup /sys/fs/cgroup/system.slice", "-j why cgroup /sys/fs/cgroup"),
    "cbpf sockets": ("cbpf sockets", "-j cbpf sockets"),
    "cbpf seccomp": ("cbpf seccomp 4711", "cbpf seccomp 4711 brief"),
    "cbpf compile": ("cbpf compile 'tcp port 80'", "cbpf compile 'udp' link RAW form dd"),
    "cbpf dis": ("cbpf dis filter.txt", "cbpf dis filter.bin form ddd"),
    "metrics show": ("metrics show", "metrics show --stats --interval 5s"),
    "metrics write": (
        "metrics write /var/lib/node_exporter/bpf.prom",
        "--snapshot host.zip metrics write host.prom",
    ),
    "metrics serve": ("metrics serve", "metrics serve [::1]:9435 --stats"),
    # Words that are a command by themselves.
    "attachments": ("attachments", "attachments --filter 'hook=xdp*' --json-lines"),
    "batch": ("batch file commands.txt", "-j batch file -"),
    "check": ("check bpf.toml --report github", "check --write"),
    "diff": ("diff before.zip", "diff before.zip after.zip --code"),
    "doctor": ("doctor", "-j doctor unheld full"),
    "monitor": ("monitor --for 10s", "monitor --calls --json-lines"),
    "owners": ("owners", "owners --sort -memlock --columns owner,memlock"),
    "report": ("report host.html", "--snapshot host.zip report host.html"),
    "top": ("top --once", "top --by owner --interval 5s"),
    "version": ("version", "-j version"),
}


def text(word: str, verb: str = "") -> str:
    """The examples of a command as the end of its help; empty where there are none."""
    lines = EXAMPLES.get(f"{word} {'show' if verb == 'list' else verb}".rstrip(), ())
    return "\nExamples:\n" + "".join([f"  pybpftool {line}\n" for line in lines]) if lines else ""
