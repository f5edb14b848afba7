"""The compiled kernels under the sanitizers, without XLA; and what an install makes of them."""

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jaxlib
import numpy as np
import pytest

import jaxvision as jv
import jaxvision.kernels
from jaxvision.kernels import native
from tests.kernels.marks import built

COMPILER = shutil.which("c++") or shutil.which("g++")
SOURCES = Path(native.__file__).parent
SETS = {"portable": ("4", "2")}
if platform.machine() in ("x86_64", "AMD64"):
    SETS |= {"avx2": ("8", "2", "-mavx2", "-mfma")}
    SETS |= {"avx512": ("16", "4", "-mavx512f", "-mavx512vl", "-mavx512dq", "-mfma", "-mprefer-vector-width=512")}


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler: the compiled kernels are NOT run under sanitizers")
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_sanitizers_find_nothing_and_every_set_equals_plain_loops(sanitizer, tmp_path):
    flags = ["-std=c++17", "-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", f"-I{SOURCES}"]
    objects = []
    for name, (lanes, vectors, *instructions) in SETS.items():
        objects.append(tmp_path / f"{name}.o")
        defined = [f"-DJAXVISION_ISA={name}", f"-DJAXVISION_LANES={lanes}", f"-DJAXVISION_VECTORS={vectors}"]
        subprocess.run([COMPILER, *flags, *defined, *instructions, "-c", SOURCES / "isa.cc", "-o", objects[-1]], check=True)
    here, program = Path(__file__).parent, tmp_path / "check"
    for name in ("check_threads", "check_native"):  # plain loops on one thread need no watch for races, which costs minutes
        watched = flags if (name, sanitizer) != ("check_native", "thread") else ["-std=c++17", "-O2", f"-I{SOURCES}"]
        objects.append(tmp_path / f"{name}.o")
        subprocess.run([COMPILER, *watched, "-c", here / f"{name}.cc", "-o", objects[-1]], check=True)
    subprocess.run([COMPILER, *flags, *objects, "-o", program, "-lpthread"], check=True)
    found = subprocess.run([program], capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "portable equal" in found.stdout


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler: that an install builds the kernels is NOT tested")
def test_the_sources_build_without_warnings_against_the_headers_in_use(tmp_path):
    headers = Path(jaxlib.__file__).parent / "include"
    command = [COMPILER, "-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{SOURCES}", "-isystem", headers, "-fsyntax-only"]
    subprocess.run([*command, SOURCES / "module.cc"], check=True)
    subprocess.run([*command, "-DJAXVISION_ISA=portable", "-DJAXVISION_LANES=4", "-DJAXVISION_VECTORS=2", SOURCES / "isa.cc"], check=True)


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler: that an install builds the kernels is NOT tested")
def test_an_install_with_a_compiler_has_the_kernels():
    """An install whose build fails goes without them, and all of their tests would be skipped."""
    assert native.library() is not None or os.environ.get("JAXVISION_NATIVE") == "0"


def whole_steps() -> dict[str, np.ndarray]:
    """Loss and gradients of three small networks, by a step of plain descent each."""
    image, found = np.random.default_rng(0).random((8, 32, 32, 3), np.float32), {}
    models = {name: jv.create_model(name, num_classes=4) for name in ("resnet20", "convnextv2_atto")}
    models["vit"] = jv.create_model("vit_tiny_patch16_224", num_classes=4, image_size=32).clone(depth=2)
    for name, model in models.items():
        batch, objective, optimizer = {"image": image, "label": np.arange(8) % 4}, jv.objectives.supervised(model), jv.train.sgd(1.0)
        before = jv.train.init(objective, optimizer, batch, key=jax.random.key(0))
        after, metrics = jax.jit(jv.train.make_step(objective, optimizer))(before, batch, jax.random.key(1))
        slopes = jax.tree_util.tree_leaves_with_path(jax.tree.map(np.subtract, before.params, after.params))
        found |= {f"{name} loss": metrics["loss"]} | {f"{name} {jax.tree_util.keystr(path)}": slope for path, slope in slopes}
    return jax.tree.map(np.asarray, found)


@pytest.mark.slow
@built
def test_without_a_library_whole_networks_learn_the_same(tmp_path):
    code = f"import numpy; from tests.kernels.test_native import whole_steps; numpy.savez({str(tmp_path / 'found.npz')!r}, **whole_steps())"
    environment = os.environ | {"JAXVISION_NATIVE": "0"}
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    expected = whole_steps()
    with np.load(tmp_path / "found.npz") as found:
        assert set(found) == set(expected)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, atol=1e-3 * max(1e-2, np.abs(array).max()), err_msg=name)


def test_without_a_library_nothing_is_compiled_in(monkeypatch):
    native.library.cache_clear()
    monkeypatch.setenv("JAXVISION_NATIVE", "0")
    try:
        assert native.library() is None and native.instructions() is None and not native.available(jax.numpy.ones(2))
    finally:
        native.library.cache_clear()


@built
def test_an_instruction_set_that_is_not_there_is_named():
    code = "from jaxvision.kernels import native; native.library()"
    found = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"JAXVISION_INSTRUCTIONS": "avx3"}, capture_output=True, text=True
    )
    assert found.returncode and re.search("^ValueError: JAXVISION_INSTRUCTIONS: .*'avx3'", found.stderr, re.MULTILINE)


@pytest.mark.skipif(COMPILER is None, reason="there is no C++ compiler: that an old library is named is NOT tested")
def test_a_library_of_older_sources_is_named(monkeypatch, tmp_path):
    (tmp_path / "old.cc").write_text('extern "C" const char* jaxvision_instructions() { return "portable"; }')
    subprocess.run([COMPILER, "-shared", "-fPIC", tmp_path / "old.cc", "-o", tmp_path / "libjaxvision_kernels.so"], check=True)
    monkeypatch.setattr(jaxvision.kernels, "__path__", [str(tmp_path)])
    monkeypatch.delenv("JAXVISION_NATIVE", raising=False)
    native.library.cache_clear()
    try:
        with pytest.raises(OSError, match="jaxvision_"):
            native.library()
    finally:
        native.library.cache_clear()
