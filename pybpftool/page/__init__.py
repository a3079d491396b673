"""A machine's BPF objects as one HTML page that needs nothing else."""
