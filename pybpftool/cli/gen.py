"""``gen``: C and other things made out of BPF object files."""

from __future__ import annotations

from pybpftool.cli.grammar import select
from pybpftool.cnumber import decimal
from pybpftool.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

HELP = """\
Usage: pybpftool gen object OUTPUT_FILE INPUT_FILE [INPUT_FILE...]
       pybpftool gen skeleton FILE [name OBJECT_NAME] [--libbpf VERSION]
       pybpftool gen subskeleton FILE [name OBJECT_NAME]
       pybpftool gen min_core_btf INPUT OUTPUT OBJECT [OBJECT...]
       pybpftool gen python FILE [name OBJECT_NAME]
       pybpftool gen help

object links object files into one, or strips a single one of debug information; it
needs the system's libbpf. skeleton prints a C header that holds the object FILE: a
struct of its maps, programs and global variables, and functions that open, load,
attach and destroy it through libbpf. Its names begin with OBJECT_NAME, or else the
file's name without .o. With -L it needs no libbpf when it runs: a loader program in
BPF does the work, which the system's libbpf makes. subskeleton prints one for the C
code of a library whose object FILE was linked into a larger object: pointers to its
own maps, programs and variables there. min_core_btf writes to OUTPUT what the CO-RE
relocations of objects need of the BTF in INPUT. python prints a typed Python module that
holds the object FILE: classes for the types of its maps and global variables, and what
opens, loads and attaches it through the system's libbpf.

Options: -L (skeleton: with a loader program), -S -k KEY -i CERTIFICATE (which is signed),
         -d (what libbpf says), --libbpf VERSION (skeleton: leave out what this version's
         header lacks)
"""


def run(ctx: Context, args: Args) -> None:
    """Run a command of ``gen``."""
    if not args:
        raise UsageError("expected a command after 'gen'; see 'pybpftool gen help'")
    select(VERBS, args, "gen")(ctx, args)


def _help(ctx: Context, args: Args) -> None:
    ctx.show_help(HELP)


def _names(args: Args) -> tuple[str, str | None]:
    """``FILE [name OBJECT_NAME]``"""
    path = args.take("an object file")
    name = ""
    while args:
        word = args.peek()
        if not args.accept("name"):
            raise UsageError(f"expected 'name', got '{word}'")
        if name:
            raise UsageError("the object has a name already")
        name = args.take("the object's name")
    raw = name.encode("utf-8", "surrogateescape")[:63]
    return path, raw.decode("utf-8", "surrogateescape") or None


def _skeleton(ctx: Context, args: Args) -> None:
    """``gen skeleton FILE [name OBJECT_NAME]``"""
    from pybpftool.gen.opening import open_file
    from pybpftool.gen.shape import c_names
    from pybpftool.gen.skeleton import skeleton

    path, name = _names(args)
    obj = open_file(path, name)
    if not ctx.options.use_loader:
        ctx.out.write(skeleton(obj, c_names([obj.name])[0], _libbpf(ctx)))
        return
    from pybpftool.control.loader import loader
    from pybpftool.gen.light_skeleton import light_skeleton

    options = ctx.options
    made = loader(path, obj.name, _aloud(ctx), options.sign)
    signed = None
    if options.key is not None and options.certificate is not None:
        from pybpftool.control.signing import sign

        signature = sign(made.insns, options.key, options.certificate)
        signed = signature.data, signature.digest
    ctx.out.write(light_skeleton(obj, c_names([obj.name])[0], *made, signed))


def _libbpf(ctx: Context) -> tuple[int, int]:
    """The version of libbpf's header that ``--libbpf`` names."""
    from pybpftool.gen.skeleton import NEWEST

    version = NEWEST
    for name, value in ctx.options.of_object:
        if name == "libbpf":
            first, _, rest = value.removeprefix("v").partition(".")
            major, minor = decimal(first), decimal(rest.partition(".")[0])
            if major is None or minor is None:
                raise UsageError(f"cannot read '{value}' as a version of libbpf, like 1.1")
            version = major, minor
    return version


def _aloud(ctx: Context) -> Callable[[str], None] | None:
    """Where what libbpf says goes: with -d to stderr."""
    if not ctx.options.debug:
        return None
    from pybpftool.output.stream import write_stderr

    ctx.out.flush()
    return lambda text: write_stderr(text.encode("utf-8", "surrogateescape"))


def _subskeleton(ctx: Context, args: Args) -> None:
    """``gen subskeleton FILE [name OBJECT_NAME]``"""
    from pybpftool.gen.bpf_object import object_name
    from pybpftool.gen.opening import open_file
    from pybpftool.gen.shape import c_names
    from pybpftool.gen.subskeleton import subskeleton

    path, name = _names(args)
    if ctx.options.use_loader:
        raise UsageError("a subskeleton has no loader: leave out -L")
    # Sections have no name of an object before theirs: nobody knows the whole one's.
    obj = open_file(path, "")
    ctx.out.write(subskeleton(obj, c_names([name or object_name(path)])[0]))


def _object(ctx: Context, args: Args) -> None:
    """``gen object OUTPUT_FILE INPUT_FILE [INPUT_FILE...]``"""
    from pybpftool.control.linker import link, link_bytes
    from pybpftool.output.files import write_file

    output = args.take("the file to write")
    inputs = [args.take("an object file")]
    while args:
        inputs.append(args.take("an object file"))
    from pybpftool.gen.byteorder import turned, turned_files

    # libbpf before 1.6 links in this machine's byte order only.
    foreign = turned_files(inputs)
    if foreign is not None:
        linked = turned(link_bytes(foreign, inputs, _aloud(ctx)))
    else:
        linked = link(inputs, _aloud(ctx))
    write_file(output, linked)


def _min_core_btf(ctx: Context, args: Args) -> None:
    """``gen min_core_btf INPUT OUTPUT OBJECT [OBJECT...]``"""
    from pybpftool.gen.min_core_btf import reduce_file
    from pybpftool.output.files import write_file

    source = args.take("the BTF to reduce")
    output = args.take("the file to write")
    objects = [args.take("an object file")]
    while args:
        objects.append(args.take("an object file"))
    write_file(output, reduce_file(source, objects))


def _python(ctx: Context, args: Args) -> None:
    """``gen python FILE [name OBJECT_NAME]``"""
    from pybpftool.gen.opening import open_file
    from pybpftool.gen.python_module import python_module

    path, name = _names(args)
    if ctx.options.use_loader:
        raise UsageError("a Python module has no loader: leave out -L")
    ctx.out.write(python_module(open_file(path, name)))


VERBS = (
    ("object", _object),
    ("skeleton", _skeleton),
    ("subskeleton", _subskeleton),
    ("min_core_btf", _min_core_btf),
    ("help", _help),
    ("python", _python),
)
