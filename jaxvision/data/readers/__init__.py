"""Readers, one data format in each file; ``jv.data`` lists their public functions."""
