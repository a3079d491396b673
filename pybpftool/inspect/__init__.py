"""Questions over a whole machine."""
