"""Checkpoints: complete or absent, every flipped bit detected, fallback to an older step, any number of devices."""

import random
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxvision as jv
from jaxvision.train import checkpoint, sharding
from jaxvision.train.state import TrainState


def make_state(seed: int = 0) -> TrainState:
    """A state with every kind of leaf and container that a real one has."""
    params = {"model": {"head": {"kernel": jax.random.normal(jax.random.key(seed), (64, 32)), "bias": jnp.arange(3.0)}}}
    return TrainState(
        step=jnp.int32(seed),
        params=params,
        carry=jv.Carry({"model": {"norm": {"mean": jnp.ones(4)}}}, {}),
        opt_state=optax.adamw(1e-3, mask={"model": {"head": {"kernel": True, "bias": False}}}).init(params),
        ema={},
        sums={"loss": jnp.float32(0.1), "updates": jnp.float32(3)},
        skipped=jnp.zeros(2, jnp.int32),
        best=jv.evaluate.Best(),
    )


def equal(a, b) -> bool:
    return jax.tree.structure(a) == jax.tree.structure(b) and all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes() and x.dtype == y.dtype
        for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    )


@pytest.fixture
def saved(tmp_path):
    """The checkpoints of a folder with steps 1 and 2."""
    checkpoints = jv.train.Checkpoints(tmp_path / "checkpoints", keep=2)
    for step in (1, 2):
        checkpoints.save(sharding.place(make_state(step)), step=step)
    checkpoints.wait()
    yield checkpoints
    checkpoints.close()


def test_a_state_comes_back_bit_for_bit(saved):
    assert saved.steps() == [1, 2] and saved.latest(report=print) == 2
    assert equal(saved.restore(2, sharding.place(make_state(0))), make_state(2))


def test_the_newest_and_the_best_are_kept(saved):
    for step in (3, 4, 5):
        saved.save(sharding.place(make_state(step)), step=step, best=2)
    saved.wait()
    assert saved.steps() == [2, 4, 5]


def test_a_save_holds_the_state_even_if_its_buffers_are_donated(tmp_path):
    checkpoints = jv.train.Checkpoints(tmp_path)
    step = jax.jit(lambda state: state._replace(params=jax.tree.map(lambda leaf: leaf * 0 - 1, state.params)), donate_argnums=0)
    state = jax.device_put(make_state(7))
    for _ in range(3):
        state = jax.tree.map(jnp.copy, make_state(7))
        shutil.rmtree(tmp_path / "7", ignore_errors=True)
        checkpoints.save(state, step=7)
        for _ in range(5):
            state = step(state)
        checkpoints.wait()
        assert equal(checkpoints.restore(7, make_state(0)), make_state(7))
    checkpoints.close()


def flip(path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(content)


def test_a_flipped_bit_is_detected_and_the_older_step_is_loaded(saved):
    """Three flips in every file of the newest step here; the 300 are below."""
    flips_in_every_file(saved, each=3)


@pytest.mark.slow
def test_three_hundred_flipped_bits(saved, capsys):
    """`python -m pytest -m slow -n 0 -s tests/train/test_checkpoint.py`: prints the figure."""
    detected, files = flips_in_every_file(saved, each=5, least=300)
    with capsys.disabled():
        print(f"\n{detected} of {detected} single-bit flips over {files} files detected, each fell back to the step before")


def flips_in_every_file(saved, *, each: int, least: int = 0) -> tuple[int, int]:
    """Flip bits one at a time; after each, the step must be refused, the file named, step 1 taken and step 2 be as before once mended."""
    folder, draw = saved.folder / "2", random.Random(0)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.stat().st_size]
    flips = [(path, draw.randrange(path.stat().st_size * 8)) for path in files for _ in range(each)]
    while len(flips) < least:
        path = draw.choice(files)
        flips.append((path, draw.randrange(path.stat().st_size * 8)))
    for path, bit in flips:
        flip(path, bit)
        damage = checkpoint.verify(folder)
        assert damage and path.relative_to(folder).as_posix() in damage[0], (path, bit)
        lines = []
        assert saved.latest(report=lines.append) == 1
        assert "step 1" in lines[0] and path.name in lines[0]
        (saved.folder / "damaged-2").rename(folder)
        flip(path, bit)
    assert checkpoint.verify(folder) == []
    return len(flips), len(files)


def test_missing_and_additional_files_are_damage(saved):
    folder = saved.folder / "2"
    (folder / "surplus").write_text("x")
    assert checkpoint.verify(folder) == ["surplus: not in the manifest"]
    (folder / "surplus").unlink()
    (folder / "state" / "_METADATA").unlink()
    assert checkpoint.verify(folder) == ["state/_METADATA: missing"]
    (folder / checkpoint.MANIFEST).unlink()
    assert checkpoint.verify(folder) == [f"{checkpoint.MANIFEST}: missing"]


def test_damage_of_all_steps_is_an_error_and_removes_nothing(saved):
    for step in (1, 2):
        flip(saved.folder / str(step) / checkpoint.MANIFEST, 5)
    lines = []
    for _ in range(2):
        with pytest.raises(jv.train.DamagedCheckpoint, match="damaged"):
            saved.latest(report=lines.append)
    assert len(lines) == 2
    assert sorted(path.name for path in saved.folder.iterdir()) == ["damaged-1", "damaged-2"]


def test_the_remains_of_an_interrupted_save_are_removed(saved):
    (saved.folder / "unfinished-3" / "state").mkdir(parents=True)
    saved.clean()
    assert saved.steps() == [1, 2] and not (saved.folder / "unfinished-3").exists()


def test_a_different_shape_is_an_error_that_names_the_leaf(saved):
    other = make_state(0)
    other.params["model"]["head"]["kernel"] = jnp.zeros((64, 10))
    with pytest.raises(ValueError, match="params/model/head/kernel"):
        saved.restore(2, other)


def test_wait_raises_the_error_of_a_save(tmp_path, monkeypatch):
    checkpoints = jv.train.Checkpoints(tmp_path)
    monkeypatch.setattr(checkpoint, "_manifest", lambda folder: (_ for _ in ()).throw(OSError("disk full")))
    checkpoints.save(make_state(1), step=1)
    with pytest.raises(OSError, match="disk full"):
        checkpoints.wait()
    assert checkpoints.steps() == []
    checkpoints.close()


@pytest.mark.parametrize(("before", "after"), [(8, 2), (2, 8), (1, 4)])
def test_a_state_moves_to_another_number_of_devices(tmp_path, before, after):
    checkpoints = jv.train.Checkpoints(tmp_path)
    devices = jax.devices()
    checkpoints.save(sharding.place(make_state(3), fsdp=True, devices=devices[:before]), step=3)
    template = sharding.place(make_state(0), fsdp=True, devices=devices[:after])
    restored = checkpoints.restore(3, template)
    checkpoints.close()
    assert equal(restored, make_state(3))
    assert restored.params["model"]["head"]["kernel"].sharding == template.params["model"]["head"]["kernel"].sharding
