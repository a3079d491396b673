"""``prog load`` and ``prog loadall``."""

from __future__ import annotations

from pybpftool.cli.refs import one_map
from pybpftool.control import libbpf, load, require_live
from pybpftool.errors import BpfError, LoadError, UsageError
from pybpftool.gen.for_libbpf import for_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.kernel.interface import BpfObject
    from pybpftool.output.jsontext import JsonStream


def load_first(ctx: Context, args: Args) -> None:
    """``prog load OBJ PATH …``."""
    _load(ctx, args, False)


def load_all(ctx: Context, args: Args) -> None:
    """``prog loadall OBJ PATH …``."""
    _load(ctx, args, True)


def _load(ctx: Context, args: Args, all_programs: bool) -> None:
    kernel = ctx.kernel
    require_live(kernel)
    if ctx.options.use_loader and not all_programs:
        _load_light(ctx, args)
        return
    words = _Words(ctx, args)
    is_full = ctx.options.is_full
    try:
        words.read()
        request = load.Request(
            copy=for_file(words.given["path"], kernel, libbpf.installed),
            all_programs=all_programs,
            relaxed_maps=ctx.options.mapcompat,
            may_mount=not ctx.options.nomount,
            maps=tuple(words.maps),
            with_logs=is_full,
            **words.given,
        )
        loaded = load.load(kernel, request, ctx.say, ctx.debug if ctx.options.debug else None)
    except LoadError as error:
        if is_full and ctx.json is not None:
            _full_error(ctx, ctx.json, error)
            return
        show_log(ctx, error)
        raise
    finally:
        for obj in words.opened:
            kernel.close(obj)
    if is_full:
        _show_full(ctx, request.path, loaded)
    elif ctx.json is not None:
        ctx.json.value(None)


def _show_full(ctx: Context, path: str, loaded: list[load.Loaded]) -> None:
    """``--full``: what the verifier did for each program, in JSON with its log."""
    from pybpftool.control.verifier_log import statistics
    from pybpftool.inspect.verdicts import Verdict, table

    found = []
    for prog in loaded:
        numbers = statistics(prog.log)
        found.append(
            Verdict(
                path, prog.name, "success", numbers.insns, numbers.states,
                numbers.peak_states, numbers.stack_depths, numbers.duration_us,
            )
        )  # fmt: skip
    if ctx.json is None:
        ctx.out.write(table(found))
        return
    records = []
    for prog, verdict in zip(loaded, found):
        record = verdict.json()
        record = {"name": prog.name, "id": prog.id, "verified_insns": record["insns"], **record}
        for name in ("file", "program", "verdict", "insns"):
            del record[name]
        records.append({**record, "log": prog.log})
    ctx.json.value({"programs": records})


def _full_error(ctx: Context, json: JsonStream, error: LoadError) -> None:
    from pybpftool.control.verifier_log import statistics

    numbers = statistics(error.log)
    ctx.failed = True
    json.value(
        {
            "error": str(error),
            "program": error.program,
            "verified_insns": numbers.insns,
            "states": numbers.states,
            "duration_us": numbers.duration_us,
            "log": error.log,
        }
    )


def _load_light(ctx: Context, args: Args) -> None:
    """``-L prog load OBJ``: what the loader loads is not pinned; words that follow go unread."""
    from pybpftool.control import run_loader
    from pybpftool.control.loader import loader

    path = args.take("an object file")
    options = ctx.options
    aloud = ctx.debug if options.debug else None
    try:
        made = loader(path, None, aloud, options.sign)
        if options.debug and ctx.json is None:
            from pybpftool.cli.prog_xlated import dump_unloaded

            dump_unloaded(ctx, made.insns)
        signature = None
        if options.key is not None and options.certificate is not None:
            from pybpftool.control import signing

            signature = signing.sign(made.insns, options.key, options.certificate)
            signing.register(options.certificate)
        run_loader.run(ctx.kernel, made, f"cannot load '{path}'", signature, aloud)
    except LoadError as error:
        show_log(ctx, error)
        raise
    # Upstream quirk: success has no JSON here.


def show_log(ctx: Context, error: LoadError) -> None:
    """The end of the verifier's log on stderr, unless all of it was there already."""
    if error.log and not ctx.options.debug:
        from pybpftool.control.verifier_log import tail

        ctx.say(tail(error.log).rstrip("\n"))


class _Words:
    """The words of ``prog load``; ``opened`` are maps for the caller to close."""

    __slots__ = ("_args", "_ctx", "given", "maps", "opened")

    def __init__(self, ctx: Context, args: Args) -> None:
        self._ctx = ctx
        self._args = args
        self.given: dict[str, Any] = {}
        self.maps: list[load.Replacement] = []
        self.opened: list[BpfObject] = []

    def read(self) -> None:
        """Take all words."""
        args, given = self._args, self.given
        given["path"] = args.take("an object file")
        given["pin_path"] = args.take("a path to pin at")
        while args:
            if args.accept("type"):
                self._once("type", "type", args.take("a program type"))
            elif args.accept("map"):
                self._map()
            elif args.accept("dev"):
                self._ctx.say("Warning: 'dev' is the old word for 'offload_dev'")
                self._device("offload_dev")
            elif args.accept("offload_dev"):
                self._device("offload_dev")
            elif args.accept("xdpmeta_dev"):
                self._device("xdpmeta_dev")
            elif args.accept("pinmaps"):
                given["pin_maps"] = args.take("a directory to pin maps in")
            elif args.accept("autoattach"):
                given["auto_attach"] = True
            elif args.accept("kernel_btf"):
                given["kernel_btf"] = args.take("a file with BTF of the kernel")
            else:
                raise UsageError(
                    "expected 'type', 'map', 'offload_dev', 'xdpmeta_dev', 'pinmaps',"
                    f" 'autoattach' or 'kernel_btf', got '{args.peek()}'"
                )

    def _once(self, word: str, name: str, value: object) -> None:
        if name in self.given:
            raise UsageError(f"'{word}' is given twice")
        self.given[name] = value

    def _map(self) -> None:
        args = self._args
        which: int | str
        if args.choose(("idx", "name")) == "idx":
            which = args.number("the number of a map")
        else:
            which = args.take("the name of a map")
        obj = one_map(self._ctx.kernel, args, True)
        self.opened.append(obj)
        self.maps.append(load.Replacement(which, obj.fd))

    def _device(self, word: str) -> None:
        from socket import if_nametoindex

        name = self._args.take("a network device")
        other = "xdpmeta" if word == "offload_dev" else "offload"
        if f"{other}_ifindex" in self.given:
            raise UsageError("'offload_dev' and 'xdpmeta_dev' exclude one another")
        try:
            index = if_nametoindex(name)
        except (OSError, ValueError):
            raise BpfError(f"there is no network device '{name}'") from None
        self._once(word, f"{word.partition('_')[0]}_ifindex", index)
