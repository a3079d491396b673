"""Machine code of programs: decoding, spelling, dumps."""
