"""How tests compile: their programs take longer to compile than to run."""

import threading
from importlib.metadata import version

JAX_0_10 = version("jaxlib").startswith("0.10.")
# No LLVM optimisation, and one thread: two test processes share two cores.
_FLAGS = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
AS_USERS_COMPILE = {}  # ``compiler_options`` of ``jax.jit`` for tests that compare bits
if JAX_0_10:
    # The older code generator halves the time of compilation, but rounds a sum apart in batches of another size. Later versions have one.
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    AS_USERS_COMPILE["xla_cpu_use_fusion_emitters"] = True
ONE_DEVICE = " ".join(_FLAGS)
EIGHT_DEVICES = f"{ONE_DEVICE} --xla_force_host_platform_device_count=8"


def reuse_mlir_contexts(times: int = 100) -> None:
    """Lower several programs in one MLIR context, as later versions of JAX do; 0.10 makes one for each program, in 4 ms.

    A context keeps all types, constants and locations of its programs; after ``times`` programs a thread begins another.
    """
    if not JAX_0_10:
        return
    from jax._src.interpreters import mlir

    local, make = threading.local(), mlir.make_ir_context

    def reused():
        context, left = getattr(local, "context", (None, 0))
        local.context = (context, left - 1) if left else (make(), times - 1)
        return local.context[0]

    mlir.make_ir_context = reused
