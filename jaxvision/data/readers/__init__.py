"""Readers of data sets on disk, one format a file; ``jv.data`` lists their public functions."""
