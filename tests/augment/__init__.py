"""Tests of the augmentation on the device."""
