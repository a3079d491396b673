"""What changes the running kernel."""
