"""Devices: the only file with a mesh, the jit of a step, shard_map or pmap.

The step is a pure function. This file compiles it for any number of devices by one of three drivers, which give the same numbers.
"""

import json
import os
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxvision import axis
from jaxvision.typing import Batch, Key

Driver = Literal["jit", "shard_map", "pmap"]
DRIVERS = get_args(Driver)
_SMALLEST_SHARDED = 1024  # elements of a leaf; it costs more to gather a smaller leaf than to replicate it


Devices = Sequence[jax.Device] | None


def data_mesh(devices: Devices = None) -> Mesh:
    """A mesh with the one axis "data" over ``devices``, by default all devices of all processes."""
    devices = jax.devices() if devices is None else devices
    return jax.make_mesh((len(devices),), (axis.NAME,), axis_types=(AxisType.Auto,), devices=devices)


def initialize_distributed(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> bool:
    """Connect to the other processes of this run. Returns whether there are any.

    Explicit values come first: ``coordinator`` ("host:port"), ``processes`` (their number; with 1 nothing is done) and ``process`` (the
    index of this one). Without them, a SLURM step of several tasks (srun), a Kubernetes indexed job, an MPI launch or
    JAX_COORDINATOR_ADDRESS is recognized, and JAX reads the rest from the environment. Call the function before any other use of JAX.
    Raises ValueError when only some of the three are given.

    >>> import jaxvision as jv
    >>> jv.train.initialize_distributed(processes=1)
    False
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
    """The rows (first, stop) of each global batch that this process reads.

    >>> import jaxvision as jv
    >>> jv.train.process_rows(256)  # of a single process
    (0, 256)
    """
    share = batch_size // jax.process_count()
    return jax.process_index() * share, (jax.process_index() + 1) * share


def check_driver(driver: str, *, fsdp: bool = False) -> None:
    """Raise ValueError for an unknown driver, or for ``fsdp`` with a driver that cannot split parameters."""
    if driver not in DRIVERS:
        raise ValueError(f"driver: found {driver!r}, expected one of {', '.join(DRIVERS)}")
    if fsdp and driver != "jit":
        raise ValueError(f"fsdp: needs driver='jit', found {driver!r}")


def check_batch_size(batch_size: int, accumulate: int = 1, devices: Devices = None) -> None:
    """Raise ValueError when the batch does not split evenly over devices and micro-batches."""
    count = len(jax.devices() if devices is None else devices)
    if batch_size % (count * accumulate):
        nearest = max(1, round(batch_size / (count * accumulate))) * count * accumulate
        parts = f"{count} devices" + (f" x {accumulate} micro-batches" if accumulate > 1 else "")
        raise ValueError(f"batch_size: {batch_size} does not split evenly over {parts}; the nearest that does is {nearest}")


def _state_shardings(state, mesh: Mesh, fsdp: bool):
    """The sharding of every leaf: replicated, or with ``fsdp`` split along its longest axis that the number of devices divides."""

    def choose(leaf):
        shape = jnp.shape(leaf)
        axes = [index for index, length in enumerate(shape) if length % mesh.size == 0]
        if not fsdp or not axes or np.prod(shape) < _SMALLEST_SHARDED:
            return NamedSharding(mesh, P())
        widest = max(axes, key=lambda index: shape[index])
        return NamedSharding(mesh, P(*(axis.NAME if index == widest else None for index in range(len(shape)))))

    return jax.tree.map(choose, state)


def place(state: Any, *, fsdp: bool = False, devices: Devices = None) -> Any:
    """A tree of arrays on all devices: replicated, or with ``fsdp`` each large leaf split in equal parts.

    Leaves that are in place already are not copied.

    >>> import jax.numpy as jnp, jaxvision as jv
    >>> jv.train.place({"weight": jnp.ones(3)})["weight"].sharding.is_fully_replicated
    True
    """
    shardings = _state_shardings(state, data_mesh(devices), fsdp)
    return jax.tree.map(
        lambda leaf, sharding: leaf if getattr(leaf, "sharding", None) == sharding else jax.device_put(leaf, sharding), state, shardings
    )


def placed_template(template: Any, *, fsdp: bool = False, devices: Devices = None) -> Any:
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
    """Copies this process's rows to the devices, asynchronously. ``pmap`` places rows itself: for it they stay on the host."""
    return batch if driver == "pmap" else _rows_on_devices(batch, data_mesh())


def _with_resident(step: Callable) -> Callable:
    """A step that also takes the examples [N, ...] that stay on the devices, and gathers the batch's rows of them by ``index``."""

    def gathered(state, batch: Batch, resident: Batch, key: Key):
        return step(state, batch | {name: rows[batch["index"]] for name, rows in resident.items()}, key)

    return gathered


def _in_a_row(step: Callable) -> Callable:
    """k steps one after the other, for a batch with leaves [B, k, ...]; the metrics have k as their first axis."""

    def steps(state, batches: Batch, resident: Batch, key: Key):
        batches = jax.tree.map(lambda rows: jnp.moveaxis(rows, 1, 0), batches)  # [k, B, ...]
        return jax.lax.scan(lambda state, batch: step(state, batch, resident, key), state, batches)

    return steps


def _blocking(compiled: Callable) -> Callable:
    """Calls that return once their program has run, for a CPU that simulates several devices.

    There XLA (jaxlib 0.10.2) runs programs on as many threads as there are devices. If about 30 programs queue behind one with a
    collective, these threads wait for one another, and XLA aborts the process after 40 s.
    """
    return lambda state, batch, key: jax.block_until_ready(compiled(state, batch, key))


def compile_step(
    step: Callable,
    *,
    driver: Driver | str = "jit",
    fsdp: bool = False,
    devices: Devices = None,
    resident: Batch | None = None,
    in_a_row: bool = False,
) -> Callable:
    """The step as a compiled program ``(state, batch, key) -> (state, metrics)`` over ``devices``, by default all.

    ``driver``: "jit" with the batch sharded over a mesh, "shard_map" or "pmap"; all give the same numbers. ``fsdp`` (jit only) also splits
    parameters and optimizer state. The batch is the global batch; each of several processes passes its own rows (``process_rows``). The
    state is donated: use the returned one. ``resident``: fields [N, ...] of all N examples, which stay on every device; batches lack these
    fields, and the step gathers them by ``index``. ``in_a_row``: a call runs k steps, for leaves [B, k, ...], and its metrics have k as
    first axis; many small steps then wait for the host once. Calls are asynchronous, except on a CPU that simulates several devices.

    Raises ValueError for an unknown driver, ``fsdp`` with another driver than jit, or a batch that the devices do not divide.

    >>> import jax, jax.numpy as jnp, jaxvision as jv
    >>> add = lambda state, batch, key: (state + batch["x"].sum(), {"sum": batch["x"].sum()})
    >>> step = jv.train.compile_step(add, devices=jax.devices()[:1])
    >>> state, metrics = step(jnp.zeros(()), {"x": jnp.ones(4)}, jax.random.key(0))
    >>> float(state), float(metrics["sum"])
    (4.0, 4.0)
    """
    check_driver(driver, fsdp=fsdp)
    mesh = data_mesh(devices)
    local = mesh.size // jax.process_count()
    whole, rows = P(), P(axis.NAME)
    step = _in_a_row(_with_resident(step)) if in_a_row else _with_resident(step)
    resident = jax.device_put(resident or {}, NamedSharding(mesh, whole))
    if driver == "jit":
        program = None  # it depends on the structure of the state: compiled at the first call
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
        if getattr(jax.tree.leaves(state)[0], "sharding", None) != NamedSharding(mesh, whole):  # the step count, which is never split
            state = place(state, fsdp=fsdp, devices=devices)
        if program is None:
            layout = _state_shardings(state, mesh, fsdp)
            replicated = NamedSharding(mesh, whole)
            shardings = (layout, NamedSharding(mesh, rows), replicated, replicated)
            program = jax.jit(step, in_shardings=shardings, out_shardings=(layout, replicated), donate_argnums=0)
        return program(state, _rows_on_devices(batch, mesh), resident, key)

    return _blocking(compiled) if local > 1 and mesh.devices.flat[0].platform == "cpu" else compiled


def compile_forward(function: Callable, *, devices: Devices = None) -> Callable:
    """``(variables, batch) -> outputs`` compiled over all devices. It takes this process's rows and returns all rows as numpy arrays."""
    mesh = data_mesh(devices)
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(axis.NAME))
    program = jax.jit(function, in_shardings=(None, rows), out_shardings=whole)
    return lambda variables, batch: jax.tree.map(np.asarray, program(variables, _rows_on_devices(batch, mesh)))


def compile_update(function: Callable, *, devices: Devices = None) -> Callable:
    """``(variables, state, batch) -> state`` compiled over all devices. It takes this process's rows; the state is replicated."""
    mesh = data_mesh(devices)
    whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P(axis.NAME))
    program = jax.jit(function, in_shardings=(None, whole, rows), out_shardings=whole)

    def compiled(variables, state, batch: Batch):
        after = program(variables, jax.block_until_ready(state), _rows_on_devices(batch, mesh))  # at most two programs wait
        return jax.block_until_ready(after) if mesh.size > 1 and mesh.devices.flat[0].platform == "cpu" else after

    return compiled


def fetch(leaf: jax.Array) -> np.ndarray:
    """A whole leaf of the state as a numpy array, for any sharding. All processes must call it."""
    mesh = leaf.sharding.mesh if isinstance(leaf.sharding, NamedSharding) else data_mesh()
    return np.asarray(jax.jit(lambda whole: whole, out_shardings=NamedSharding(mesh, P()))(leaf))


def is_primary() -> bool:
    """Whether this process writes the run folder."""
    return jax.process_index() == 0


def agree(value: Any) -> Any:
    """The primary process's value (a tree of numbers) on every process. All processes must call it."""
    if jax.process_count() == 1:
        return value
    from jax.experimental import multihost_utils

    return multihost_utils.broadcast_one_to_all(value)


def reported(value: Any) -> list:
    """The values of all processes (anything that JSON can hold), in the order of the processes. All processes must call it."""
    if jax.process_count() == 1:
        return [value]
    from jax.experimental import multihost_utils

    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    lengths = multihost_utils.process_allgather(np.asarray(len(text)))
    texts = multihost_utils.process_allgather(np.pad(text, (0, int(lengths.max()) - len(text))))
    return [json.loads(text[:length].tobytes()) for text, length in zip(texts, lengths, strict=True)]
