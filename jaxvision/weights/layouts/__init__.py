"""Names of each family's weights in other libraries: one table per family, used in both directions."""
