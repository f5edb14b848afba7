"""Names of each family's weights in other libraries: one table per family, used in both directions."""


def unit(ours: str, conv: str, norm: str) -> tuple:
    """The two rules of a convolution with a norm: their names in another library are ``conv`` and ``norm``."""
    return (f"{ours}/conv", conv), (f"{ours}/norm", norm)
