"""The encoder-decoder: torch.nn.Transformer's numbers with the same weights and masks, what may see what, and greedy decoding."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvision.layers import END, PADDING, START, SelfAttention, sinusoidal_position
from jaxvision.models.transformer import Transformer, build
from tests.models.test_contract import count

KEY = jax.random.key(0)
SMALL = {"width": 12, "heads": 2, "hidden": 20, "depths": (2, 2), "drop_rate": 0.0}
SOURCE = np.array([[3, 4, 5, 6, END], [7, END, PADDING, PADDING, PADDING]], np.int32)
TARGET = np.array([[5, 4, 3, END], [8, 9, END, PADDING]], np.int32)


@functools.cache
def model_and_variables(**options):
    model = Transformer(11, 11, **SMALL | options)
    return model, drawn(model, SOURCE, TARGET)


def drawn(model, *inputs) -> dict:
    """Parameters of the size of one half, biases too, scales near one."""
    generator = np.random.default_rng(1)

    def draw(path, leaf):
        center = 1.0 if path[-1].key == "scale" else 0.0
        return (center + 0.4 * generator.standard_normal(leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, jax.eval_shape(model.init, KEY, *inputs))


def torchs(torch, params: dict, **options):
    """torch.nn.Transformer in float64 with our weights."""
    network = torch.nn.Transformer(12, 2, 2, 2, 20, dropout=0.0, batch_first=True, **options).double().eval()
    tensor = lambda leaf: torch.tensor(np.asarray(leaf, np.float64))  # noqa: E731
    tensors = {}

    def put(name: str, leaves: dict):
        for ours, theirs in (("kernel", "weight"), ("scale", "weight"), ("bias", "bias")):
            if ours in leaves:
                tensors[f"{name}.{theirs}"] = tensor(leaves[ours]).T if ours == "kernel" else tensor(leaves[ours])

    def put_attention(name: str, leaves: dict):
        parts = [leaves["qkv"]] if "qkv" in leaves else [leaves["query"], leaves["key_value"]]
        tensors[f"{name}.in_proj_weight"] = torch.cat([tensor(part["kernel"]).T for part in parts])
        tensors[f"{name}.in_proj_bias"] = torch.cat([tensor(part["bias"]) for part in parts])
        put(f"{name}.out_proj", leaves["project"])

    for stack in ("encoder", "decoder"):
        for index in range(2):
            block, name = params[f"{stack}{index + 1}"], f"{stack}.layers.{index}"
            put_attention(f"{name}.self_attn", block["attention"])
            if stack == "decoder":
                put_attention(f"{name}.multihead_attn", block["cross_attention"])
            for norm in (part for part in block if part.startswith("norm")):
                put(f"{name}.{norm}", block[norm])
            put(f"{name}.linear1", block["mlp"]["expand"])
            put(f"{name}.linear2", block["mlp"]["contract"])
        put(f"{stack}.norm", params[f"{stack}_norm"])
    network.load_state_dict(tensors)
    network.encoder.use_nested_tensor = False  # the plain path: padded places are computed like all others
    return network


def test_logits_are_pytorchs_under_padding_and_causal_masks():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: parity with it is NOT checked here")
    model, variables = model_and_variables(last_norm=True)
    params = variables["params"]
    network, table = torchs(torch, params), torch.tensor(np.float64(params["target_embedding"]["embedding"]))
    written = np.concatenate([np.full((2, 1), START, np.int32), TARGET[:, :-1]], axis=1)

    def embedded(tokens):
        return table[torch.tensor(tokens, dtype=torch.long)] * 12**0.5 + torch.tensor(np.float64(sinusoidal_position(tokens.shape[1], 12)))

    hidden = torch.tensor(SOURCE == PADDING)
    with torch.no_grad():
        theirs = network(
            embedded(SOURCE),
            embedded(written),
            tgt_mask=torch.nn.Transformer.generate_square_subsequent_mask(4).double(),
            src_key_padding_mask=hidden,
            tgt_key_padding_mask=torch.tensor(written == PADDING).double() * -1e9,
            memory_key_padding_mask=hidden,
        )
    wanted = (theirs @ table.T).numpy()
    found = jax.jit(model.apply)(variables, SOURCE, TARGET)
    assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()


def test_parameters_are_the_papers():
    """Base and big with its 37,000 tokens: table 3 says 65 and 213 million; here every map has a bias, as in PyTorch."""
    rows = jax.ShapeDtypeStruct((1, 4), jnp.int32)
    for name, width, hidden in (("base", 512, 2048), ("big", 1024, 4096)):
        attention, mlp, norm = 4 * width * (width + 1), 2 * width * hidden + width + hidden, 2 * width
        wanted = 37_000 * width + 6 * (attention + mlp + 2 * norm) + 6 * (2 * attention + mlp + 3 * norm)
        model = build(name, source_vocabulary=37_000)
        assert count(jax.eval_shape(model.init, KEY, rows, rows)) == wanted
        assert wanted == {"base": 63_082_496, "big": 214_245_376}[name]


def test_embeddings_are_shared_as_in_the_paper_or_not():
    tied, apart = (model_and_variables(tied=tied)[1]["params"] for tied in (True, False))
    assert set(apart) - set(tied) == {"source_embedding", "head"}
    with pytest.raises(ValueError, match="^tied:"):
        Transformer(11, 12, **SMALL).init(KEY, SOURCE, TARGET)
    other = build("base", source_vocabulary=5, target_vocabulary=9)
    assert not other.tied and jax.eval_shape(other.init_with_output, KEY, SOURCE, TARGET)[0].shape == (2, 4, 9)


def test_a_token_depends_only_on_earlier_tokens():
    model, variables = model_and_variables()
    apply = jax.jit(model.apply)
    whole = apply(variables, SOURCE, TARGET)
    changed = apply(variables, SOURCE, np.where(np.arange(4) >= 2, 10, TARGET).astype(np.int32))
    np.testing.assert_array_equal(changed[:, :3], whole[:, :3])  # the third logits have read the first two
    assert np.abs(changed[:, 3] - whole[:, 3]).max() > 1e-3


def test_padding_changes_nothing():
    model, variables = model_and_variables()
    apply = jax.jit(model.apply)
    whole = apply(variables, SOURCE, TARGET)
    np.testing.assert_allclose(whole[1:, :3], apply(variables, SOURCE[1:, :2], TARGET[1:, :3]), atol=1e-5)
    assert np.isfinite(apply(variables, np.zeros_like(SOURCE), TARGET)).all()


def test_attention_weights_are_given_on_request():
    model, variables = model_and_variables()
    _, seen = model.apply(variables, SOURCE, TARGET, mutable=["attention"])
    cross = seen["attention"]["decoder2"]["cross_attention"]["weights"]
    own = seen["attention"]["decoder1"]["attention"]["weights"]
    assert cross.shape == (2, 2, 4, 5) and own.shape == (2, 2, 4, 4)
    np.testing.assert_allclose(cross.sum(-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(cross[1, :, :, 2:], 0)  # padding of the second source
    np.testing.assert_array_equal(own * (1 - np.tri(4)), 0)
    assert set(jax.eval_shape(model.init, KEY, SOURCE, TARGET)) == {"params"}


def test_self_attention_is_permutation_equivariant_without_positions_and_not_with_them():
    tokens = np.random.default_rng(0).standard_normal((2, 7, 12)).astype(np.float32)
    layer, order = SelfAttention(3), np.array([4, 0, 6, 2, 1, 5, 3])
    variables = drawn(layer, tokens)
    attend = functools.partial(layer.apply, variables)
    np.testing.assert_allclose(attend(tokens[:, order]), attend(tokens)[:, order], atol=1e-5)
    places = sinusoidal_position(7, 12)
    assert np.abs(attend(tokens[:, order] + places) - attend(tokens + places)[:, order]).max() > 0.1


def test_greedy_decoding_is_step_by_step_the_likeliest_token():
    model, variables = model_and_variables(max_length=6)
    found = np.asarray(jax.jit(functools.partial(model.apply, method="translate"))(variables, SOURCE))
    assert found.shape == (2, 6) and found.dtype == np.int32
    apply = jax.jit(model.apply)
    for row in range(2):
        written = np.zeros((1, 6), np.int32)
        for place in range(6):  # a token is asked for from those before it: it is not read itself
            written[0, place] = int(apply(variables, SOURCE[row : row + 1], written)[0, place].argmax())
            if written[0, place] == END:
                break
        np.testing.assert_array_equal(found[row], written[0])


def test_it_starts_from_either_method_and_draws_dropout_from_the_key():
    model = Transformer(11, 11, **SMALL | {"drop_rate": 0.5})
    by_call = jax.eval_shape(model.init, KEY, SOURCE, TARGET)
    by_method = jax.eval_shape(functools.partial(model.init, method="translate"), KEY, SOURCE)
    assert jax.tree.map(jnp.shape, by_call) == jax.tree.map(jnp.shape, by_method)
    variables = model_and_variables()[1]
    train = jax.jit(functools.partial(model.apply, variables, SOURCE, TARGET, train=True))
    assert not np.allclose(train(rngs={"dropout": KEY}), train(rngs={"dropout": jax.random.key(1)}))
    assert jax.eval_shape(model.clone(dtype="bfloat16").apply, variables, SOURCE, TARGET).dtype == jnp.float32


def test_refusals_name_the_argument():
    model, variables = model_and_variables()
    with pytest.raises(ValueError, match="^source:"):
        model.apply(variables, SOURCE[0], TARGET)
    with pytest.raises(TypeError, match="^target:"):
        model.apply(variables, SOURCE, TARGET.astype(np.float32))
