"""Tests of pybpftool.inspect."""
