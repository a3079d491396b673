"""Whole-process benchmarks beside upstream, and beside another state of our own."""
