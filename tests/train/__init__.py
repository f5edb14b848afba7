"""Tests of jaxvision.train."""
