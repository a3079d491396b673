"""Tools that the tests and the developers run: virtual machines, comparison with upstream."""
