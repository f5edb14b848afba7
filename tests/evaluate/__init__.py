"""Tests of jaxvision.evaluate."""
