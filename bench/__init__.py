"""Whole-process benchmarks beside upstream."""
