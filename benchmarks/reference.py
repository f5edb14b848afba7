"""The library that benchmarks and tests compare with, also where it was built without its compiled operators."""

import functools
import sys


@functools.cache
def torchvision():
    """torchvision; the operators that a CPU install lacks are declared first. Raises ModuleNotFoundError where PyTorch is not installed."""
    try:
        import torch
    except ImportError:
        told = "this benchmark compares with PyTorch, which is not installed: python -m pip install -e '.[test]'"
        raise ModuleNotFoundError(told) from None
    try:
        import torchvision as found
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision as found

        found.declared = library  # the declaration dies with this object
    return found


def device():
    """Where PyTorch computes: on the GPU that JAX computes on, else on the CPU."""
    import jax
    import torch

    return torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")


def in_full_float32() -> None:
    """Neither side takes TF32 for float32: ten bits are fewer than any bound of a comparison allows. On a CPU there is none."""
    import jax
    import torch

    if jax.default_backend() == "gpu":
        jax.config.update("jax_default_matmul_precision", "highest")
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def memory_of(run, where):
    """``side_by_side.Side.memory`` of a ``run`` of PyTorch's: None on a CPU, whose process knows."""
    import torch

    if where.type != "cuda":
        return None

    def memory() -> float:
        torch.cuda.reset_peak_memory_stats(where)
        before = torch.cuda.memory_allocated(where)
        run()
        return (torch.cuda.max_memory_allocated(where) - before) / 2**20

    return memory


def wait(where) -> None:
    """Until PyTorch's device has done everything that it was asked for."""
    import torch

    if where.type == "cuda":
        torch.cuda.synchronize()
