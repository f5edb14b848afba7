"""jaxvision compared with PyTorch: each file is a command that says what it measured, on what, and writes a table to ``results/``."""
