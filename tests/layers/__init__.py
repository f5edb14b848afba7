"""The layers against PyTorch and closed forms."""
