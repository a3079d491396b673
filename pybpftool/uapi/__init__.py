"""Numbers and layouts of the kernel headers: data only."""
