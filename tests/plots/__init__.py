"""Pictures: files that open, nothing cut off or overlapping, the right numbers in the right place."""
