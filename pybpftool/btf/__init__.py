"""BPF Type Format: parsing, dumping as text, JSON and C, and decoding of values."""
