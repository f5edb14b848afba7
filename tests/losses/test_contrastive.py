"""NT-Xent and its supervised form: closed forms, tiny temperatures, chunks, and what they refuse."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxvision as jv
from benchmarks import contrast_memory
from tests.oracles import contrastive as oracle

RNG = np.random.default_rng(0)
Z1, Z2 = RNG.standard_normal((2, 33, 16)).astype(np.float32)


def test_equal_views_are_at_chance():
    """Where every view is the same vector, each of the 2N - 1 others is as likely: the loss stays at log(2N - 1)."""
    views = jnp.ones((12, 5))
    assert float(jv.losses.nt_xent(views, views)) == pytest.approx(math.log(23), rel=1e-6)


def test_a_batch_of_one_has_no_loss():
    value, slope = jax.jit(jax.value_and_grad(jv.losses.nt_xent))(Z1[:1], Z2[:1])
    assert value == 0 and not np.any(slope)


@pytest.mark.parametrize("chunk", [1, 7, 65, 66, 1000])
def test_the_chunk_changes_nothing(chunk):
    whole = jax.jit(jax.value_and_grad(lambda a, b: contrast_memory.dense(a, b, temperature=0.1), (0, 1)))(Z1, Z2)
    ours = jax.jit(jax.value_and_grad(lambda a, b: jv.losses.nt_xent(a, b, temperature=0.1, chunk=chunk), (0, 1)))(Z1, Z2)
    assert float(ours[0]) == pytest.approx(float(whole[0]), rel=1e-6)
    for one, other in zip(ours[1], whole[1], strict=True):
        np.testing.assert_allclose(one, other, atol=2e-6 * np.abs(other).max())


@pytest.mark.parametrize("temperature", [0.001, 0.01])
def test_tiny_temperatures(temperature):
    close = Z1 + 0.1 * Z2  # positives that are most similar, and a loss near zero
    loss = jax.jit(jax.value_and_grad(lambda a, b: jv.losses.nt_xent(a, b, temperature=temperature)))
    for second in (Z2, close):
        value, slope = loss(Z1, second)
        expected = oracle.nt_xent(Z1.astype(np.float64), second.astype(np.float64), temperature=temperature)
        assert float(value) == pytest.approx(float(expected), rel=2e-6 * 0.05 / temperature, abs=1e-12)
        assert np.isfinite(slope).all()


@pytest.mark.parametrize("temperature", [0.05, 0.1])
def test_a_loss_near_zero_keeps_its_digits(temperature):
    """Views that agree: the loss is a small difference of large numbers, and must not be computed as one."""
    first, second = Z1, Z1 + np.float32(0.3) * Z2
    loss = jax.value_and_grad(lambda a, b: jv.losses.nt_xent(a, b, temperature=temperature), (0, 1))
    value, slopes = jax.jit(loss)(first, second)
    with jax.enable_x64(True):
        expected, wide = jax.device_get(jax.jit(loss)(first.astype(np.float64), second.astype(np.float64)))
    assert value.dtype == np.float32 and expected.dtype == np.float64 and expected < 0.1
    assert float(value) == pytest.approx(float(expected), rel=3e-6)
    for one, other in zip(slopes, wide, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=2e-5 * np.abs(other).max())


def test_the_length_of_a_vector_does_not_count():
    scale = np.float32(10.0) ** np.arange(-16, 17)[:, None]
    assert float(jv.losses.nt_xent(Z1 * scale, Z2)) == pytest.approx(float(jv.losses.nt_xent(Z1, Z2)), rel=1e-6)


def test_directions_of_extreme_vectors():
    rows = jnp.array([[3e30, 4e30], [3e-30, 4e-30], [0.0, 0.0], [-3.0, 4.0]])
    np.testing.assert_allclose(jv.kernels.unit_rows(rows), [[0.6, 0.8], [0.6, 0.8], [0, 0], [-0.6, 0.8]], rtol=1e-6)
    assert not np.any(jax.grad(lambda row: jnp.sum(jv.kernels.unit_rows(row)))(jnp.zeros((2, 3))))


def test_the_temperature_may_be_learned():
    loss = jax.jit(lambda temperature: jv.losses.nt_xent(Z1, Z2, temperature=temperature))
    slope = jax.jit(jax.grad(loss))(0.5)
    assert float(slope) == pytest.approx(float((loss(0.51) - loss(0.49)) / 0.02), rel=1e-3)


def test_second_derivatives_go_in_reverse_alone():
    few = Z1[:4, :3]
    steep = lambda loss: lambda rows: jnp.sum(jnp.square(jax.grad(lambda z: loss(z, Z2[:4, :3]))(rows)))  # noqa: E731
    once = lambda loss: jax.jit(jax.grad(steep(loss)))(few)  # noqa: E731
    chunked = once(lambda a, b: jv.losses.nt_xent(a, b, chunk=3))
    np.testing.assert_allclose(chunked, once(contrast_memory.dense), atol=1e-6)
    with pytest.raises(TypeError):
        jax.jvp(jv.losses.nt_xent, (few, few), (few, few))


def test_with_one_image_a_class_the_supervised_form_is_nt_xent():
    views = jnp.stack([Z1, Z2], axis=1)
    ours = jax.jit(lambda views: jv.losses.supervised_contrastive(views, jnp.arange(33), temperature=0.2))(views)
    assert float(ours) == pytest.approx(float(jv.losses.nt_xent(Z1, Z2, temperature=0.2)), rel=1e-6)


def test_views_with_one_positive_may_stand_beside_views_with_more():
    views, labels = np.stack([Z1, Z2], axis=1)[:6], np.array([3, 8, 3, 3, 1, 5])  # classes of six and of two views
    ours = jax.jit(lambda views: jv.losses.supervised_contrastive(views, labels, temperature=0.2, chunk=5))(views)
    expected = oracle.supervised_contrastive(views.astype(np.float64), labels, temperature=0.2)
    assert float(ours) == pytest.approx(float(expected), rel=1e-6)


def test_a_view_without_positives_counts_as_zero():
    views, labels = Z1[:3, None], np.array([4, -1, 4])
    loss = jax.jit(jax.value_and_grad(jv.losses.supervised_contrastive))
    assert float(loss(views, labels)[0]) == pytest.approx(oracle.supervised_contrastive(views.astype(np.float64), labels), rel=1e-6)
    alone, slope = loss(views[:1], labels[:1])
    assert alone == 0 and not np.any(slope)


def test_memory_grows_with_the_batch_and_not_with_its_square():
    sizes = (1024, 2048, 4096)
    amounts = [contrast_memory.temporary_bytes(jv.losses.nt_xent, size) for size in sizes]
    assert contrast_memory.exponent(sizes, amounts) < contrast_memory.STEEPEST
    assert amounts[-1] < contrast_memory.temporary_bytes(contrast_memory.dense, sizes[-1]) / 4


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: jv.losses.nt_xent(Z1, Z2[:5]), "z1, z2"),
        (lambda: jv.losses.nt_xent(Z1[0], Z2[0]), "z1, z2"),
        (lambda: jv.losses.nt_xent(Z1[:0], Z2[:0]), "z1, z2"),
        (lambda: jv.losses.nt_xent(Z1, Z2, temperature=0.0), "temperature"),
        (lambda: jv.losses.nt_xent(Z1, Z2, temperature=np.float32(-1)), "temperature"),
        (lambda: jv.losses.nt_xent(Z1, Z2, temperature=jnp.zeros(())), "temperature"),
        (lambda: jv.losses.nt_xent(Z1, Z2, temperature=float("nan")), "temperature"),
        (lambda: jv.losses.nt_xent(Z1, Z2, chunk=0), "chunk"),
        (lambda: jv.losses.supervised_contrastive(Z1, jnp.arange(33)), "views"),
        (lambda: jv.losses.supervised_contrastive(Z1[:, None], jnp.arange(3)), "labels"),
        (lambda: jv.losses.supervised_contrastive(Z1[:, None], jnp.ones(33)), "labels"),
    ],
)
def test_what_does_not_fit_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
