"""The report of a model: a table of its layers with shapes, parameters, operations, memory and receptive fields."""

import operator
from typing import Any

from flax import linen as nn

from jaxvision import checks
from jaxvision.summary.interpreter import Layer, layers_of
from jaxvision.summary.rows import CONVENTIONS, CountedRows, merged_rows, paths_of, row_of
from jaxvision.summary.table import table_of
from jaxvision.summary.tracing import image_of, trace_call


class Report(CountedRows):
    """The rows of a model for one image, in the order of computation, and their totals. ``print`` shows a table.

    >>> import jaxvision as jv
    >>> from flax import linen as nn
    >>> report = jv.report(nn.Dense(2), (3,))
    >>> [row.path for row in report.rows], report.params, report.memory
    (['image', '(top)'], 8, 20)
    """

    __slots__ = ()

    def under(self, convention: str) -> "Report":
        """The same layers under another convention; see ``report``. Raises ValueError for an unknown one."""
        checks.one_of("convention", convention, CONVENTIONS)
        count = CONVENTIONS[convention]
        return self._replace(convention=convention, rows=tuple(row._replace(macs=count(row)) for row in self.rows))

    def at_depth(self, depth: int) -> "Report":
        """Merge rows whose paths agree in their first ``depth`` parts: counts are added, the output is that of the last row.

        Raises ValueError for a ``depth`` below 1.
        """
        checks.integer("depth", depth)
        return self._replace(rows=merged_rows(self.rows, depth))

    def as_dict(self) -> dict[str, Any]:
        """Rows and totals as a dict that can be written as JSON."""
        names = ("params", "weights", "macs", "activations", "memory", "param_bytes", "forward_backward_bytes")
        head = {"name": self.name, "image_shape": self.image_shape, "convention": self.convention}
        return {**head, **{name: getattr(self, name) for name in names}, "rows": [row._asdict() for row in self.rows]}

    def __str__(self) -> str:
        return table_of(self)


def _checked_shape(image_shape: tuple[int, ...]) -> tuple[int, ...]:
    try:
        shape = tuple(operator.index(extent) for extent in image_shape)
    except TypeError:  # not a sequence, or not of integers
        shape = ()
    if not shape or min(shape) < 1:
        raise ValueError(f"image_shape: found {image_shape!r}, expected positive integers such as (224, 224, 3)")
    return shape


def report(
    model: nn.Module, image_shape: tuple[int, ...] = (224, 224, 3), *, convention: str = "weights", name: str | None = None
) -> Report:
    """Shape, parameters, operations, memory and receptive field of each layer of a Linen module, for one image in evaluation.

    The model is traced with shapes alone; nothing is initialized or computed. A module that has parameters is a row. So is a pooling
    and a product of two activations (attention's ``scores`` and ``mixture``), wherever it is called. Activation functions, sums and
    dropout have no row.

    ``image_shape``: shape of the input without the batch: (H, W, C), (N, D) for tokens or (D,) for a vector.
    ``convention``: what one unit of ``macs`` is:

    * "weights": one MAC for each use of a weight, and in attention for each product of two activations. A convolution has
      ``h w D kh kw C / groups``, a dense layer ``in x out`` for each token, attention ``2 N M D``; biases, norms and pooling have none.
      torchvision and timm publish this number.
    * "torchinfo": the "mult-adds" of the package torchinfo (1.8): all parameters of a convolution times its output positions, the
      parameters of any other layer once. Products of activations are not counted.
    * "flops": two for each MAC, one for each added bias.

    A receptive field includes the padding outside the image. It is "all" after attention or global pooling.

    Raises ValueError for an unknown convention, an invalid shape, a model of several inputs, and a model with loops or branches that
    depend on its data. Raises TypeError if ``model`` is not a Linen module.

    >>> import jaxvision as jv
    >>> from flax import linen as nn
    >>> report = jv.report(nn.Dense(1), (3,), convention="flops")
    >>> report.macs, report.params  # 2 x 3 + 1
    (7, 4)
    """
    shape = _checked_shape(image_shape)
    image = image_of(shape)
    layers = layers_of(trace_call(model, (image,)), [image.shape])
    start = Layer((), "Input", image.shape, image.dtype.itemsize, {}, spatial=None)
    rows = [row_of(start, "image"), *(row_of(layer, path) for layer, path in zip(layers, paths_of(layers), strict=True))]
    return Report(name or type(model).__name__, shape, "weights", tuple(rows)).under(convention)
