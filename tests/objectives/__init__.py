"""Tests of jaxvision.objectives."""
