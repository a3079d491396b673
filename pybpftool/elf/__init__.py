"""Bytes of ELF files."""
