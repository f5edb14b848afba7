"""Tests, one folder for each package.

They import what packages do not export only where it is a building block with an independent reference, such as torchvision's crops or
the published numbers of splitmix64."""
