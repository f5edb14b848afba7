"""Tests of the loss functions."""
