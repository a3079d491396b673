"""Links of tracing: raw tracepoints, functions and hooks named by BTF, iterators, struct_ops."""

from __future__ import annotations

from pybpftool.objects.links.source import word
from pybpftool.records import Record
from pybpftool.uapi.bpf import ATTACH_TYPES, CGROUP_ITER_ORDERS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.objects.links.source import Json, LinkSource


class RawTracepoint(Record):
    """A raw tracepoint.  Kernel: bpf_raw_tp_link_fill_link_info(), v5.8."""

    tp_name: str
    cookie: int | None  # v6.17; None where the kernel's struct ends before it

    @classmethod
    def read(cls, source: LinkSource) -> RawTracepoint:
        source.ask()
        return cls(source.string(), source.fields("raw_tracepoint").get("cookie"))

    def text(self) -> str:
        text = f"\n\ttp '{self.tp_name}'  "
        return f"{text}cookie {self.cookie}  " if self.cookie else text

    def json(self) -> Json:
        return {"tp_name": self.tp_name, "cookie": self.cookie or 0}


class Tracing(Record):
    """A function, BTF tracepoint, LSM hook or program.  Kernel: bpf_tracing_link_fill_link_info().

    ``target_obj_id`` is the id of a BTF object, or of the program that is extended.
    """

    prog_type: str | int | None
    attach_type: str | int
    target_obj_id: int | None
    target_btf_id: int | None
    cookie: int | None  # v6.17

    @classmethod
    def read(cls, source: LinkSource) -> Tracing:
        info = source.fields("tracing")
        return cls(
            source.prog_type(source.prog_id),
            word(ATTACH_TYPES, info["attach_type"]),
            info.get("target_obj_id"),
            info.get("target_btf_id"),
            info.get("cookie"),
        )

    def text(self) -> str:
        type = "" if self.prog_type is None else f"prog_type {self.prog_type}  "
        text = f"\n\t{type}attach_type {self.attach_type}  "
        if self.target_obj_id or self.target_btf_id:
            text += f"\n\ttarget_obj_id {self.target_obj_id or 0}"
            text += f"  target_btf_id {self.target_btf_id or 0}  "
        return f"{text}\n\tcookie {self.cookie}  " if self.cookie else text

    def json(self) -> Json:
        type = {} if self.prog_type is None else {"prog_type": self.prog_type}
        return {
            **type,
            "attach_type": self.attach_type,
            "target_obj_id": self.target_obj_id or 0,
            "target_btf_id": self.target_btf_id or 0,
            "cookie": self.cookie or 0,
        }


class TracingMulti(Record):
    """Many functions, by BTF.  Kernel: bpf_tracing_multi_link_fill_link_info(), v7.3.

    ``funcs`` is (address, cookie, type id, function, module) in the order of addresses; the
    address is 0 where the kernel hides it, the function None where it has no name.
    """

    attach_type: str | int
    func_cnt: int
    btf_obj_id: int
    funcs: list[tuple[int, int, int, str | None, str]]

    @classmethod
    def read(cls, source: LinkSource) -> TracingMulti | None:
        if not source.fields("tracing_multi")["attach_type"]:
            return None  # a kernel that tells nothing of such links
        source.ask()
        info = source.fields("tracing_multi")
        count, btf_obj_id = info["count"], info["btf_obj_id"]
        addresses = source.numbers("addrs", count)
        columns = (addresses, source.numbers("cookies", count), source.numbers("ids", count, "I"))
        names = source.functions(addresses) or {}
        funcs = []
        for row in sorted(zip(*columns)):  # noqa: B905
            function, module = names.get(row[0]) or source.btf_function(btf_obj_id, row[2])
            funcs.append((*row, function, module))
        return cls(word(ATTACH_TYPES, info["attach_type"]), count, btf_obj_id, funcs)

    def text(self) -> str:
        parts = [f"\n\tattach_type {self.attach_type}  func_cnt {self.func_cnt}  "]
        parts.append(f"btf_obj_id {self.btf_obj_id}  ")
        if self.funcs:
            head = ("addr", "cookie", "btf_id", "func [module]")
            parts.append("\n\t%-16s %-16s %-8s %s" % head)
        for address, cookie, type_id, function, module in self.funcs:
            name = "(unknown)" if function is None else function
            suffix = f" [{module}]  " if module else "  "
            parts.append("\n\t%016x %-16x %-8d %s%s" % (address, cookie, type_id, name, suffix))
        return "".join(parts)

    def json(self) -> Json:
        return {
            "attach_type": self.attach_type,
            "func_cnt": self.func_cnt,
            "btf_obj_id": self.btf_obj_id,
            "funcs": [
                {"addr": a, "btf_id": i, "func": f, "module": m or None, "cookie": c}
                for a, c, i, f, m in self.funcs
            ],
        }


class Iter(Record):
    """An iterator; its target decides which of the fields have a value.

    Kernel: bpf_iter_link_fill_link_info(), v5.10, and fill_link_info() of each target.
    """

    target_name: str
    map_id: int | None = None
    cgroup_id: int | None = None
    order: str | None = None
    tid: int | None = None
    pid: int | None = None

    @classmethod
    def read(cls, source: LinkSource) -> Iter:
        source.ask()
        name = source.string()
        if name in ("bpf_map_elem", "bpf_sk_storage_map"):
            return cls(name, map_id=source.fields("iter.map")["map_id"])
        if name in ("task", "task_file", "task_vma"):
            task = source.fields("iter.task")
            return cls(name, tid=task["tid"], pid=task["pid"])
        if name == "cgroup":
            cgroup = source.fields("iter.cgroup")
            order = cgroup["order"]
            # Upstream quirk: `children`, the newest order, is as unknown as all after it.
            known = CGROUP_ITER_ORDERS[: CGROUP_ITER_ORDERS.index("ancestors_up") + 1]
            shown = known[order] if order < len(known) else "unknown"
            return cls(name, cgroup_id=cgroup["cgroup_id"], order=shown)
        return cls(name)

    def text(self) -> str:
        # Upstream quirk: no new line begins here, and one blank, not two, ends tid and pid.
        text = f"target_name {self.target_name}  "
        if self.map_id is not None:
            text += f"map_id {self.map_id}  "
        if self.tid:
            text += f"tid {self.tid} "
        elif self.pid:
            text += f"pid {self.pid} "
        if self.cgroup_id is not None:
            text += f"cgroup_id {self.cgroup_id}  order {self.order}  "
        return text

    def json(self) -> Json:
        json: Json = {"target_name": self.target_name}
        if self.map_id is not None:
            json["map_id"] = self.map_id
        if self.tid:
            json["tid"] = self.tid
        elif self.pid:
            json["pid"] = self.pid
        if self.cgroup_id is not None:
            json["cgroup_id"] = self.cgroup_id
            json["order"] = self.order
        return json


class StructOps(Record):
    """A struct_ops map.  Kernel: bpf_struct_ops_map_link_fill_link_info(), v6.4."""

    map_id: int

    @classmethod
    def read(cls, source: LinkSource) -> StructOps:
        return cls(source.fields("struct_ops")["map_id"])

    def subject(self) -> str:
        """What the head of the link names in place of a program, which it has none of."""
        return f"map {self.map_id}"

    def text(self) -> str:
        return ""

    def json(self) -> Json:
        return {"map_id": self.map_id}
