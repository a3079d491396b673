"""What is made out of BPF object files: skeletons, linked objects, reduced BTF."""
