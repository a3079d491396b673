"""Toolkit of the tests and benchmarks: BPF code, BTF and kernel objects without libbpf or clang.

Nothing here imports `pybpftool`: what the tests compare the package with must not be the package.
"""
