"""XLA's flags for tests, whose programs take longer to compile than to run."""

from importlib.metadata import version

# No LLVM optimisation, and one thread: two test processes share two cores.
_FLAGS = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
AS_USERS_COMPILE = {}  # ``compiler_options`` of ``jax.jit`` for tests that compare bits
if version("jaxlib").startswith("0.10."):
    # The older code generator halves the time of compilation, but rounds a sum apart in batches of another size. Later versions have one.
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    AS_USERS_COMPILE["xla_cpu_use_fusion_emitters"] = True
ONE_DEVICE = " ".join(_FLAGS)
EIGHT_DEVICES = f"{ONE_DEVICE} --xla_force_host_platform_device_count=8"
