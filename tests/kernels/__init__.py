"""The kernels against PyTorch and float64 rewritings."""
