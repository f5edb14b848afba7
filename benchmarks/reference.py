"""PyTorch and torchvision as the reference of benchmarks and tests, also if torchvision lacks its compiled operators."""

import functools
import sys


@functools.cache
def torchvision():
    """torchvision. Operators that a CPU installation lacks are declared first. Raises ModuleNotFoundError without PyTorch."""
    try:
        import torch
    except ImportError:
        message = "this benchmark compares with PyTorch, which is not installed: python -m pip install -e '.[test]'"
        raise ModuleNotFoundError(message) from None
    try:
        import torchvision as found
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision as found

        found.declared = library  # the declarations live as long as this object
    return found


def device():
    """The device of PyTorch: the GPU if JAX uses it, else the CPU."""
    import jax
    import torch

    return torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")


def in_full_float32() -> None:
    """Disable TF32 on both sides: its ten bits are too few for the bounds of the comparisons. CPUs do not have it."""
    import jax
    import torch

    if jax.default_backend() == "gpu":
        jax.config.update("jax_default_matmul_precision", "highest")
        torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False


def memory_of(run, where):
    """``side_by_side.Side.memory`` for a ``run`` in PyTorch; None on a CPU, where the memory of the process is measured."""
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
    """Wait until PyTorch's device has finished all work."""
    import torch

    if where.type == "cuda":
        torch.cuda.synchronize()
