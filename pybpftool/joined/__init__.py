"""One view of a program: source lines, translated instructions, machine code."""
