"""Files and names of other libraries' weights: read to the last bit, written back, refused when damaged."""
