"""Reports of models, their receptive fields, and the command that prints them."""
