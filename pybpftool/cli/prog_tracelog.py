"""``prog tracelog``: what programs print."""

from __future__ import annotations

import os

from pybpftool.cli.refs import one_program
from pybpftool.control.tracelog import STREAMS, open_trace_pipe, read_stream
from pybpftool.errors import BpfError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args

_CHUNK = 1 << 16


def tracelog(ctx: Context, args: Args) -> None:
    """``prog tracelog [{ stdout | stderr } PROG]``."""
    if args:
        _stream(ctx, args)
    else:
        _pipe(ctx)


def _stream(ctx: Context, args: Args) -> None:
    name = args.choose(tuple(STREAMS))
    kernel = ctx.kernel
    prog = one_program(kernel, args)
    try:
        if name == "stderr":
            from pybpftool.output.stream import write_stderr

            for data in read_stream(kernel, prog, STREAMS[name]):
                write_stderr(data)
            if ctx.json is not None:
                ctx.json.value(None)
        elif ctx.json is None:
            for data in read_stream(kernel, prog, STREAMS[name]):
                ctx.out.write(_text(data))
        else:
            ctx.json.value(_text(b"".join(read_stream(kernel, prog, STREAMS[name]))))
    finally:
        kernel.close(prog)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _pipe(ctx: Context) -> None:
    from pybpftool.cli.stopping import Stopping

    json = ctx.json
    if json is not None:
        json.begin_array()
    fd = open_trace_pipe(ctx.kernel, not ctx.options.nomount, ctx.say)
    rest = b""
    try:
        ctx.out.flush()
        ctx.stay()
        with Stopping() as stopping:
            while not stopping.is_asked:
                try:
                    # poll(2) tells of the pipe only when half of a buffer is full
                    # (buffer_percent), and what does not find room there is lost.
                    data = stopping.interruptible(os.read, fd, _CHUNK)
                except InterruptedError:
                    break
                except OSError as error:
                    raise BpfError(f"cannot read the trace pipe: {error.strerror}") from None
                if not data:
                    raise BpfError("the trace pipe has ended")
                lines = (rest + data).split(b"\n")
                rest = lines.pop()
                if json is None:
                    ctx.out.write("".join([f"{_text(line)}\n" for line in lines]))
                else:
                    for line in lines:
                        json.value(f"{_text(line)}\n")
                ctx.out.flush()
    finally:
        os.close(fd)
    if json is not None:
        json.end()
