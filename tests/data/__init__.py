"""Tests of jaxvision.data."""
