"""Runnable recipes, one a file: ``python -m experiments.NAME --help``."""
