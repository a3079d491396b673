"""CO-RE: what the relocations of a BPF object mean on another kernel, by its BTF."""
