"""Writing text and JSON in upstream's layout, in bulk and as a stream."""
