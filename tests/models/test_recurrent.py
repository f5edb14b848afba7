"""The recurrent encoder-decoder: PyTorch's cells, which encoder states each context depends on, and greedy decoding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvision.layers import END, PADDING
from jaxvision.models.recurrent import CELLS, Recurrent
from jaxvision.objectives import translation
from tests.marks import slow
from tests.models.test_transformer import KEY, SOURCE, TARGET, drawn

NO_TORCH = "PyTorch is not installed: parity with PyTorch is NOT checked here"
GATES = {"gru": ("r", "z", "n"), "lstm": ("i", "f", "g", "o")}  # in PyTorch's order, by Flax's letters


@functools.cache
def model_and_variables(**options):
    model = Recurrent(11, 11, 6, **options)
    return model, drawn(model, SOURCE, TARGET)


def torchs(torch, cell: str, leaves: dict):
    """PyTorch's layer with our cell's weights: a gate that has a bias on one side has it there."""
    size, inputs = 6, leaves["in" if cell == "gru" else "ii"]["kernel"].shape[0]
    network = (torch.nn.GRU if cell == "gru" else torch.nn.LSTM)(inputs, size, batch_first=True).double()
    for side, name in (("i", "ih"), ("h", "hh")):
        gates = [leaves[side + gate] for gate in GATES[cell]]
        kernel, bias = np.concatenate([gate["kernel"].T for gate in gates]), [gate.get("bias", np.zeros(size)) for gate in gates]
        getattr(network, f"weight_{name}_l0").data = torch.tensor(np.float64(kernel))
        getattr(network, f"bias_{name}_l0").data = torch.tensor(np.float64(np.concatenate(bias)))
    return network


@pytest.mark.parametrize("cell", CELLS)
def test_the_encoder_is_pytorchs_in_both_directions(cell):
    torch = pytest.importorskip("torch", reason=NO_TORCH)
    model, variables = model_and_variables(cell=cell)
    _, (memory, *_, fixed) = jax.jit(functools.partial(model.apply, method="encode"))(variables, SOURCE)
    params = jax.tree.map(np.asarray, variables["params"])
    for row, length in enumerate((5, 2)):
        embedded = torch.tensor(np.float64(params["source_embedding"]["embedding"][SOURCE[row : row + 1, :length]]))
        ahead, _ = torchs(torch, cell, params["forward"]["cell"])(embedded)
        behind, _ = torchs(torch, cell, params["backward"]["cell"])(embedded.flip(1))
        wanted = torch.cat([ahead, behind.flip(1)], dim=-1)[0].detach().numpy()
        np.testing.assert_allclose(memory[row, :length], wanted, atol=1e-5)
        np.testing.assert_array_equal(memory[row, length:], 0)
        np.testing.assert_allclose(fixed[row], np.concatenate([wanted[-1, :6], wanted[0, 6:]]), atol=1e-5)


def test_attended_weights_sum_to_one_and_are_zero_on_padding():
    model, variables = model_and_variables()
    _, seen = jax.jit(functools.partial(model.apply, mutable=["attention"]))(variables, SOURCE, TARGET)
    weights = seen["attention"]["weights"]
    assert weights.shape == (2, 4, 5)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(weights[1, :, 2:], 0)
    model, variables = model_and_variables(context="fixed")
    assert not model.apply(variables, SOURCE, TARGET, mutable=["attention"])[1]


def test_a_fixed_context_depends_only_on_the_last_states():
    for context, heard in (("fixed", False), ("attended", True)):
        model, variables = model_and_variables(context=context)
        bound = model.bind(variables)
        state, (memory, keys, bias, fixed) = bound.encode(SOURCE)
        hear = lambda memory: bound.step(state, memory[:, 0, :6], memory, keys, bias, fixed)[1][0][:, 6:-6]  # noqa: B023, E731
        assert (np.abs(hear(memory) - hear(memory.at[:, 1].add(1.0))).max() > 1e-3) == heard


@pytest.mark.parametrize("options", [slow({"context": "fixed"}), {"context": "attended"}, slow({"cell": "lstm"})], ids=str)
def test_greedy_decoding_is_step_by_step_the_likeliest_token(options):
    model, variables = model_and_variables(max_length=5, **options)
    found = np.asarray(jax.jit(functools.partial(model.apply, method="translate"))(variables, SOURCE))
    apply, written = jax.jit(model.apply), np.zeros((2, 5), np.int32)
    for place in range(5):
        written[:, place] = apply(variables, SOURCE, written)[:, place].argmax(-1)
    for row in range(2):
        end = np.flatnonzero(written[row] == END)
        written[row, end[0] + 1 if len(end) else 5 :] = PADDING
    np.testing.assert_array_equal(found, written)


@pytest.mark.slow
@pytest.mark.parametrize("context", ["fixed", "attended"])
def test_it_learns(context):
    model = Recurrent(11, 11, 16, context=context, drop_rate=0.1)
    objective, optimizer = translation(model), optax.adam(1e-2)
    batch = {"source": jnp.asarray(SOURCE), "target": jnp.asarray(TARGET)}
    params, carry = jax.jit(objective.init)(KEY, batch)

    @jax.jit
    def step(params, state, number):
        (loss, aux), grads = jax.value_and_grad(objective.loss, has_aux=True)(params, carry, batch, key=KEY, step=number)
        updates, state = optimizer.update(grads, state)
        return optax.apply_updates(params, updates), state, aux.metrics

    state = optimizer.init(params)
    for number in range(60):
        params, state, metrics = step(params, state, number)
    assert metrics["tokens"] == 1 and metrics["loss"] < 0.2


def test_refusals_name_the_argument():
    for argument, value in (("cell", "rnn"), ("context", "none")):
        with pytest.raises(ValueError, match=f"^{argument}:"):
            jax.eval_shape(Recurrent(11, 11, 6, **{argument: value}).init, KEY, SOURCE, TARGET)
    with pytest.raises(ValueError, match="^source:"):
        jax.eval_shape(Recurrent(11, 11, 6).init, KEY, SOURCE[0], TARGET)
