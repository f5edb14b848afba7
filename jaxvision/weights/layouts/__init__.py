"""Where other libraries keep each family's weights: one table of names a family, read in both directions."""
