"""BTF as C."""
