"""Reports of a check, each in the syntax of its readers."""
