"""Random translated programs: well-formed control flow, nothing else makes sense in them."""

from __future__ import annotations

import random

from tests.support.asm import insn


def random_program(seed: int, size: int = 60) -> bytes:
    """Functions with jumps of all kinds, early exits, unreachable code, calls, callbacks."""
    rng = random.Random(seed)
    shapes: list[list[int]] = []  # per function: width of each instruction
    for _ in range(rng.randint(1, 5)):
        widths = [2 if rng.random() < 0.12 else 1 for _ in range(rng.randint(1, size))]
        widths.append(1)
        shapes.append(widths)
    bases = []
    total = 0
    for widths in shapes:
        bases.append(total)
        total += sum(widths)
    code = []
    for index, widths in enumerate(shapes):
        places = []
        slot = bases[index]
        for width in widths:
            places.append(slot)
            slot += width
        for number, (place, width) in enumerate(zip(places, widths)):
            code.append(_instruction(rng, place, width, places, bases, number == len(widths) - 1))
    return b"".join(code)


def _instruction(
    rng: random.Random, place: int, width: int, places: list[int], bases: list[int], is_last: bool
) -> bytes:
    other = rng.choice(bases)
    near = rng.choice(places)
    if width == 2:
        if rng.random() < 0.4:
            return insn(0x18, 1, 4, 0, other - place - 1) + insn(0, imm=bases.index(other))
        # The second half may look like anything.
        return insn(0x18, 2, 0, 0, rng.randrange(1 << 31)) + insn(0, imm=rng.randrange(1 << 31))
    if is_last:
        return rng.choice(
            [insn(0x95), insn(0x95), insn(0x05, off=near - place - 1), insn(0x07, 1, imm=1)]
        )
    kind = rng.random()
    if kind < 0.5:
        return insn(rng.choice([0x07, 0xBF, 0x61, 0x7B, 0xB4, 0xC3, 0x72]), 1, 2, -8, 3)
    if kind < 0.56:
        return insn(0x95)
    if kind < 0.63:
        return insn(0x05, off=near - place - 1)
    if kind < 0.68:
        return insn(0x06, imm=near - place - 1, off=rng.randrange(-100, 100))
    if kind < 0.72:
        return insn(0xE5, off=near - place - 1)
    if kind < 0.76:
        return insn(0x85, 0, 1, other - place - 1, bases.index(other))
    if kind < 0.79:
        return insn(0x85, imm=rng.randrange(1, 200))
    operations = [0x15, 0x1D, 0x25, 0x3D, 0x45, 0x55, 0x6D, 0x75, 0xA5, 0xBD, 0xC5, 0xDD]
    opcode = rng.choice(operations) + rng.choice([0, 1])
    return insn(opcode, 1, 2, near - place - 1, rng.randrange(-5, 5))
