"""``obj verify``: what the verifier makes of the programs of object files."""

from __future__ import annotations

from pybpftool.control import require_live
from pybpftool.errors import BpfError, UsageError
from pybpftool.inspect import verdicts
from pybpftool.inspect.verdicts import Verdict
from pybpftool.reading import contents

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pybpftool.cli.context import Context
    from pybpftool.cli.grammar import Args
    from pybpftool.control.verify import Outcome

EXIT_REFUSED = 1
EXIT_TROUBLE = 2
_LARGEST_FILE = 1 << 26


def verify(ctx: Context, args: Args) -> None:
    """``obj verify FILE... [--csv] [--compare BASE]``"""
    ctx.failure_status = EXIT_TROUBLE
    as_csv, base = _options(ctx)
    paths = [args.take("an object file")]
    while args:
        paths.append(args.take("an object file"))
    before = None if base is None else _read(base)
    require_live(ctx.kernel)
    found, errors = _verified(ctx, paths)
    if before is not None:
        is_refused = _compare(ctx, before, found, errors)
    else:
        is_refused = any(verdict.verdict == "failure" for verdict in found)
        if ctx.json is not None:
            ctx.json.value([*(verdict.json() for verdict in found), *errors])
        elif as_csv:
            ctx.out.write(verdicts.csv(found))
        elif found:
            ctx.out.write(verdicts.table(found))
    # That a program is refused is certain, whatever could not be told of others.
    if is_refused:
        ctx.status = ctx.failure_status = EXIT_REFUSED
    elif any(verdict.verdict == "unknown" for verdict in found):
        ctx.failed = True


def _options(ctx: Context) -> tuple[bool, str | None]:
    as_csv, base = False, None
    for name, value in ctx.options.of_object:
        if name == "csv":
            as_csv = True
        elif name == "compare":
            base = value
    if as_csv and ctx.json is not None:
        raise UsageError("--csv and JSON (-j, -p) exclude one another")
    if as_csv and base is not None:
        raise UsageError("--csv and --compare exclude one another")
    return as_csv, base


def _verified(ctx: Context, paths: list[str]) -> tuple[list[Verdict], list[dict[str, str]]]:
    """The verdicts, and what JSON has in the place of those on files that cannot be read."""
    from pybpftool.control.verify import verify as verify_file

    found: list[Verdict] = []
    errors: list[dict[str, str]] = []
    for path in paths:
        try:
            found += [_verdict(outcome) for outcome in verify_file(ctx.kernel, path)]
        except BpfError as error:
            if ctx.json is None:
                ctx.error_aside(error)
            else:
                ctx.failed = True
                errors.append({"error": str(error)})
    return found, errors


def _verdict(outcome: Outcome) -> Verdict:
    numbers = outcome.statistics
    return Verdict(
        outcome.path, outcome.program, outcome.verdict, numbers.insns, numbers.states,
        numbers.peak_states, numbers.stack_depths, numbers.duration_us, outcome.reason,
    )  # fmt: skip


def _read(path: str) -> list[Verdict]:
    try:
        data = contents(path, _LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "impossible name"
        raise BpfError(f"cannot read '{path}': {reason}") from None
    if len(data) > _LARGEST_FILE:
        raise BpfError(f"cannot compare with '{path}': it has more than 64 MiB")
    try:
        return verdicts.read(data.decode("utf-8", "surrogateescape"))
    except BpfError as error:
        raise BpfError(f"cannot compare with '{path}': {error}") from None


def _compare(
    ctx: Context, before: list[Verdict], found: list[Verdict], errors: list[dict[str, str]]
) -> bool:
    """Print both runs side by side; whether a program is refused or missing that was not before."""
    comparisons = verdicts.compare(before, found)
    if ctx.json is not None:
        ctx.json.value([*(comparison.json() for comparison in comparisons), *errors])
    else:
        ctx.out.write(verdicts.comparison_table(comparisons))
    return any(comparison.is_worse for comparison in comparisons)
