"""The command line: options, grammar, and one module for each object."""
