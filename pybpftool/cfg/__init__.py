"""Control flow of translated programs: functions, basic blocks, edges, loops, pictures."""
