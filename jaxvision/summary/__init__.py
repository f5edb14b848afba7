"""Reports of models without running them: a row for each layer with shape, parameters, MACs, memory and receptive field."""

from jaxvision._public import set_public_names
from jaxvision.summary._report import Report, report
from jaxvision.summary.rows import CONVENTIONS, UNITS, Row

__all__ = [
    # a report and its rows
    "Report",
    "Row",
    "report",
    # conventions of counting
    "CONVENTIONS",
    "UNITS",
]
set_public_names(__name__, __all__)
