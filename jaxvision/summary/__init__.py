"""What a network is made of, before it is run: one row a layer with shapes, parameters, MACs, memory and receptive fields."""

from jaxvision._public import set_public_names
from jaxvision.summary.rows import CONVENTIONS, UNITS, Report, Row, report

__all__ = ["CONVENTIONS", "UNITS", "Report", "Row", "report"]
set_public_names(__name__, __all__)
