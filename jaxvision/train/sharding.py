"""Devices: the only file with a mesh, a jit of a step, shard_map or pmap.

The step is pure; here it becomes a program for any number of devices in one of three drivers, all giving the same numbers.
"""

import json
import os
from collections.abc import Callable
from typing import Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxvision import axis
from jaxvision.typing import Batch, Key

Driver = Literal["jit", "shard_map", "pmap"]
DRIVERS = get_args(Driver)
_SMALLEST_SHARD = 1024  # a leaf with fewer elements costs more to gather than to keep


def data_mesh(devices=None) -> Mesh:
    """All devices (of all processes), or those given, in one row named "data"."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (axis.NAME,), axis_types=(AxisType.Auto,), devices=devices)


def initialize_distributed(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> bool:
    """Join the other processes of this run, if there are any; returns whether there are.

    Explicit ``coordinator`` ("host:port"), ``processes`` and ``process`` come first (``processes=1``: there are none); otherwise a SLURM
    step of several tasks (srun), a Kubernetes indexed job, an MPI launch or JAX_COORDINATOR_ADDRESS says so and JAX reads the rest from
    the environment.
    Raises ValueError when only some of the three are given. Call it before anything touches a device.
    """
    if processes == 1:
        return False
    explicit = (coordinator, processes, process)
    if any(value is not None for value in explicit):
        if any(value is None for value in explicit):
            raise ValueError(f"coordinator, processes, process: found {explicit}, expected all three or none")
        jax.distributed.initialize(coordinator, processes, process)
        return True
    several = any(int(os.environ.get(name) or 1) > 1 for name in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE"))
    if several or "JAX_COORDINATOR_ADDRESS" in os.environ or {"KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX"} <= set(os.environ):
        jax.distributed.initialize()
        return True
    return False


def process_rows(batch_size: int) -> tuple[int, int]:
    """The rows (first, stop) of each global batch that this process reads."""
    share = batch_size // jax.process_count()
    return jax.process_index() * share, (jax.process_index() + 1) * share


def check_driver(driver: str, *, fsdp: bool = False) -> None:
    """Raises ValueError for a driver that there is not, or that cannot split parameters."""
    if driver not in DRIVERS:
        raise ValueError(f"driver: found {driver!r}, expected one of {', '.join(DRIVERS)}")
    if fsdp and driver != "jit":
        raise ValueError(f"fsdp: needs driver='jit', found {driver!r}")


def check_batch_size(batch_size: int, accumulate: int = 1, devices=None) -> None:
    """Raises ValueError when the batch does not split evenly over devices and micro-batches."""
    count = len(jax.devices() if devices is None else devices)
    if batch_size % (count * accumulate):
        nearest = max(1, round(batch_size / (count * accumulate))) * count * accumulate
        parts = f"{count} devices" + (f" x {accumulate} micro-batches" if accumulate > 1 else "")
        raise ValueError(f"batch_size: {batch_size} does not split evenly over {parts}; the nearest that does is {nearest}")


def _state_shardings(state, mesh: Mesh, fsdp: bool):
    """Replicated; with ``fsdp`` each large leaf is split along its largest axis that the devices divide."""

    def choose(leaf):
        shape = jnp.shape(leaf)
        axes = [index for index, length in enumerate(shape) if length % mesh.size == 0]
        if not fsdp or not axes or np.prod(shape) < _SMALLEST_SHARD:
            return NamedSharding(mesh, P())
        widest = max(axes, key=lambda index: shape[index])
        return NamedSharding(mesh, P(*(axis.NAME if index == widest else None for index in range(len(shape)))))

    return jax.tree.map(choose, state)


def place(state, *, fsdp: bool = False, devices=None):
    """The state on all devices: replicated, or with ``fsdp`` each large leaf in equal parts. Leaves already in place are not moved."""
    shardings = _state_shardings(state, data_mesh(devices), fsdp)
    return jax.tree.map(
        lambda leaf, where: leaf if getattr(leaf, "sharding", None) == where else jax.device_put(leaf, where), state, shardings
    )


def placed_template(template, *, fsdp: bool = False, devices=None):
    """``jax.ShapeDtypeStruct`` of a state's leaves, with the sharding that ``place`` gives them."""
    shardings = _state_shardings(template, data_mesh(devices), fsdp)
    return jax.tree.map(lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), template, shardings)


def _rows_on_devices(batch: Batch, mesh: Mesh) -> Batch:
    """This process's rows of the global batch as global arrays, split over the mesh."""
    rows = NamedSharding(mesh, P(axis.NAME))

    def put(leaf):
        if isinstance(leaf, jax.Array) and leaf.sharding == rows:
            return leaf
        return jax.make_array_from_process_local_data(rows, np.asarray(leaf))

    return jax.tree.map(put, batch)


def place_batch(batch: Batch, *, driver: str = "jit") -> Batch:
    """This process's rows on their devices, on their way while the devices work; ``pmap`` takes them as they are and places them itself."""
    return batch if driver == "pmap" else _rows_on_devices(batch, data_mesh())


def _with_resident(step: Callable) -> Callable:
    """A step that takes examples [N, ...] which live on the devices, and looks the batch's rows of them up by their index."""

    def looked_up(state, batch: Batch, resident: Batch, key: Key):
        return step(state, batch | {name: rows[batch["index"]] for name, rows in resident.items()}, key)

    return looked_up


def _in_a_row(step: Callable) -> Callable:
    """As many steps as the second axis of the batch [B, k, ...] is long, one after the other; their metrics have k as first axis."""

    def steps(state, batches: Batch, resident: Batch, key: Key):
        batches = jax.tree.map(lambda rows: jnp.moveaxis(rows, 1, 0), batches)  # [k, B, ...]
        return jax.lax.scan(lambda state, batch: step(state, batch, resident, key), state, batches)

    return steps


def _waited_for(compiled: Callable) -> Callable:
    """Calls that return when their program has run.

    Where a CPU stands for several devices, XLA (jaxlib 0.10.2) starts programs on as many threads as there are devices. Once some 30 queue
    behind one in which devices exchange sums, these threads wait for one another, and after 40 s the process is aborted.
    """
    return lambda state, batch, key: jax.block_until_ready(compiled(state, batch, key))


def compile_step(
    step: Callable, *, driver: str = "jit", fsdp: bool = False, devices=None, resident: Batch | None = None, in_a_row: bool = False
) -> Callable:
    """The step as a compiled program ``(state, batch, key) -> (state, metrics)`` over all devices, or those given.

    ``driver``: "jit" over a mesh with the batch split ("data"), "shard_map", or "pmap"; the same numbers each. ``fsdp`` (jit only) also
    splits parameters and optimizer state. The batch is the global one (of several processes, each passes its own rows, see
    ``process_rows``). The state is donated: use the one that comes back. ``resident``: fields [N, ...] of all N examples that stay on every
    device; batches come without them, and the step looks them up by ``index``. ``in_a_row``: a call takes the batches of k steps, leaves
    [B, k, ...], and its metrics have k as first axis: one program of many small steps waits for the host once. A call returns before its
    program has run, but where a CPU stands for several devices.

    Raises ValueError for an unknown driver, ``fsdp`` with another driver than jit, or a batch that the devices do not divide.
    """
    check_driver(driver, fsdp=fsdp)
    mesh = data_mesh(devices)
    local = mesh.size // jax.process_count()
    whole, rows = P(), P(axis.NAME)
    step = _in_a_row(_with_resident(step)) if in_a_row else _with_resident(step)
    resident = jax.device_put(resident or {}, NamedSharding(mesh, whole))
    if driver == "jit":
        program = None  # needs the state's structure: made at the first call
    elif driver == "shard_map":
        mapped = jax.shard_map(step, mesh=mesh, in_specs=(whole, rows, whole, whole), out_specs=(whole, whole), check_vma=False)
        program = jax.jit(mapped, donate_argnums=0)
    else:
        program = jax.pmap(step, axis_name=axis.NAME, in_axes=(None, 0, None, None), out_axes=None, donate_argnums=0, devices=devices)

    def compiled(state, batch: Batch, key: Key):
        nonlocal program
        for leaf in jax.tree.leaves(batch):
            if leaf.shape[0] % local:
                raise ValueError(f"batch: {leaf.shape[0]} rows do not split evenly over {local} devices")
        if driver == "pmap":
            split = jax.tree.map(lambda leaf: leaf.reshape(local, leaf.shape[0] // local, *leaf.shape[1:]), batch)  # [devices, b, ...]
            return program(state, split, resident, key)
        if getattr(jax.tree.leaves(state)[0], "sharding", None) != NamedSharding(mesh, whole):  # the step count, never split
            state = place(state, fsdp=fsdp, devices=devices)
        if program is None:
            layout = _state_shardings(state, mesh, fsdp)
            replicated = NamedSharding(mesh, whole)
            shardings = (layout, NamedSharding(mesh, rows), replicated, replicated)
            program = jax.jit(step, in_shardings=shardings, out_shardings=(layout, replicated), donate_argnums=0)
        return program(state, _rows_on_devices(batch, mesh), resident, key)

    return _waited_for(compiled) if local > 1 and mesh.devices.flat[0].platform == "cpu" else compiled


def compile_forward(function: Callable, *, devices=None) -> Callable:
    """``(variables, batch) -> outputs`` compiled over all devices; takes this process's rows, returns all rows as numpy."""
    mesh = data_mesh(devices)
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(axis.NAME))
    program = jax.jit(function, in_shardings=(None, rows), out_shardings=whole)
    return lambda variables, batch: jax.tree.map(np.asarray, program(variables, _rows_on_devices(batch, mesh)))


def compile_update(function: Callable, *, devices=None) -> Callable:
    """``(variables, state, batch) -> state`` compiled over all devices; takes this process's rows; every device has the whole state."""
    mesh = data_mesh(devices)
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(axis.NAME))
    program = jax.jit(function, in_shardings=(None, whole, rows), out_shardings=whole)

    def compiled(variables, state, batch: Batch):
        after = program(variables, jax.block_until_ready(state), _rows_on_devices(batch, mesh))  # at most two programs wait
        return jax.block_until_ready(after) if mesh.size > 1 and mesh.devices.flat[0].platform == "cpu" else after

    return compiled


def fetch(leaf: jax.Array) -> np.ndarray:
    """A leaf of the state as numpy, whole, however it is split; every process must ask."""
    mesh = leaf.sharding.mesh if isinstance(leaf.sharding, NamedSharding) else data_mesh()
    return np.asarray(jax.jit(lambda whole: whole, out_shardings=NamedSharding(mesh, P()))(leaf))


def is_primary() -> bool:
    """Whether this process writes the run folder."""
    return jax.process_index() == 0


def agree(value):
    """The primary process's value (numbers) on every process."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(value)


def told(value) -> list:
    """What each process says (anything that JSON can write), in the order of the processes; every process must say something."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.asarray(len(text)))
    texts = multihost_utils.process_allgather(np.pad(text, (0, int(lengths.max()) - len(text))))
    return [json.loads(text[:length].tobytes()) for text, length in zip(texts, lengths, strict=True)]
