"""BPF instructions: disassembly, kernel symbols, dumps of translated programs."""
