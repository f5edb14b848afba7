"""Plots: the files open, no text is cut off or overlaps, and the numbers are in the right place."""
