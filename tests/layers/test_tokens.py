"""Rows of token numbers: what is refused before a model reads them."""

import jax
import numpy as np
import pytest

from jaxvision.layers import check_tokens
from jaxvision.models.recurrent import Recurrent
from jaxvision.models.transformer import Transformer
from tests.marks import slow

ROWS = np.array([[3, 4, 2], [5, 2, 0]])


@pytest.mark.parametrize("model", [Transformer(6, 6, 8, 2, 8, (1, 1)), slow(Recurrent(6, 6, 4))])
def test_numbers_that_are_no_token_and_rows_of_other_batches_are_refused(model):
    name, variables = type(model).__name__, jax.jit(model.init)(jax.random.key(0), ROWS, ROWS)
    assert np.isfinite(model.apply(variables, ROWS, ROWS)).all()
    for wrong in (ROWS + 1, ROWS - 1):
        found = f"found tokens from {wrong.min()} to {wrong.max()}, this {name} expects 0 to 5\\b"
        for rows, row in (((wrong, ROWS), "source"), ((ROWS, wrong), "target")):
            with pytest.raises(ValueError, match=f"^{row}: {found}"):
                model.apply(variables, *rows)
        with pytest.raises(ValueError, match="^source:"):
            model.apply(variables, wrong, method="translate")
    with pytest.raises(ValueError, match="^source and target:"):
        jax.eval_shape(model.apply, variables, ROWS, ROWS[:1])


def test_no_rows_and_traced_rows_pass():
    check_tokens("Net", source=(ROWS[:0], 6))
    jax.jit(lambda rows: check_tokens("Net", source=(rows, 2)))(ROWS)
