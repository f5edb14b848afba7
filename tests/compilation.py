"""XLA's flags for tests, whose programs take longer to compile than to run."""

from importlib.metadata import version

# No LLVM optimisation, and one thread: two test processes share two cores.
_FLAGS = ["--xla_backend_optimization_level=0", "--xla_cpu_parallel_codegen_split_count=1"]
if version("jaxlib").startswith("0.10."):
    _FLAGS.append("--xla_cpu_use_fusion_emitters=false")  # halves the time of compilation; later versions do not know this flag
ONE_DEVICE = " ".join(_FLAGS)
EIGHT_DEVICES = f"{ONE_DEVICE} --xla_force_host_platform_device_count=8"
