"""Interprets a traced program and lists its layers: modules with parameters, poolings, and products outside such modules."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.extend import core

from jaxvision.kernels._primitive import reference_of
from jaxvision.layers import Conv, WindowAttention
from jaxvision.summary.propagation import (
    Spatial,
    Window,
    elementwise,
    input_spatial,
    padded,
    reshaped,
    sliced,
    through_attention_windows,
    through_window,
)
from jaxvision.summary.tracing import Program, call_number

PARAMETER = "parameter"  # marks values that are computed from parameters alone


class Layer(NamedTuple):
    """One layer for a batch of one; ``uses`` counts the multiplications whose products are added up, ``params`` sizes by name."""

    path: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    itemsize: int
    params: dict[str, int]
    uses: int = 0
    window: Window | None = None
    input_size: tuple[int, int] | None = None  # height and width before the window
    spatial: Spatial | None = None
    function: bool = False  # a function that a module calls


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _convolution_of(module: Conv) -> Window:
    padding = tuple((length, length) for length in _pair(module.padding))
    return Window(_pair(module.kernel_size), _pair(module.stride), padding, _pair(module.dilation), module.groups)


def _inner(equation) -> Any:
    """The jaxpr that an equation calls, for a kernel that of its reference implementation; None if it calls none."""
    reference = reference_of(equation.primitive)
    if reference is not None:
        return jax.make_jaxpr(partial(reference, **equation.params))(*(variable.aval for variable in equation.invars)).jaxpr
    if equation.primitive.name not in _CALL_PRIMITIVES:
        return None
    found = [value for value in equation.params.values() if isinstance(value, core.Jaxpr | core.ClosedJaxpr)]
    return (found[0].jaxpr if isinstance(found[0], core.ClosedJaxpr) else found[0]) if found else None


class Interpreter:
    """One pass over a program. ``layers`` are in the order of computation."""

    def __init__(self, program: Program):
        self.program = program
        self.layers: list[Layer] = []
        self.path: tuple[str, ...] = ()
        self.times = 1  # number of iterations of the enclosing loops
        self.claimed: set[tuple[str, ...]] = set()

    def claim_params(self, path: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters directly at ``path``. They are given once: a later call gets none."""
        node = self.program.params
        for part in path:
            node = node.get(part, {})  # a module without parameters is not in the tree
        if path in self.claimed:
            return {}
        own = {name: leaf.shape for name, leaf in node.items() if not hasattr(leaf, "items")}
        if own:
            self.claimed.add(path)
        return own

    def run(self, jaxpr, values: list) -> list:
        """Evaluate a jaxpr on abstract ``values``: a Spatial, PARAMETER, or None for a constant."""
        known = dict(zip(jaxpr.invars, values, strict=True))

        def read(variable):
            return None if isinstance(variable, core.Literal) else known.get(variable)

        for equation in jaxpr.eqns:
            ins = [read(variable) for variable in equation.invars]
            known.update(zip(equation.outvars, self._equation(equation, ins), strict=True))
        return [read(variable) for variable in jaxpr.outvars]

    def _equation(self, equation, ins: list) -> list:
        number, inner = call_number(equation), _inner(equation)
        if number is not None:
            return self._call(equation, ins, number)
        if equation.primitive.name in ("while", "cond"):
            raise ValueError(f"report: found {equation.primitive.name} in the model, whose work depends on its data; expected scan or none")
        if inner is not None and len(inner.invars) == len(ins):
            before, self.times = self.times, self.times * equation.params.get("length", 1)
            try:
                outs = self.run(inner, ins)
            finally:
                self.times = before
            if equation.primitive.name == "scan":  # the position along the loop is unknown
                shapes = [variable.aval.shape for variable in equation.outvars]
                outs = [elementwise([out], [()], shape) if isinstance(out, Spatial) else out for out, shape in zip(outs, shapes)]
            return outs
        if not any(isinstance(value, Spatial) for value in ins):
            return [PARAMETER if PARAMETER in ins else None] * len(equation.outvars)
        return [self._operation(equation, ins)] * len(equation.outvars)

    def _call(self, equation, ins: list, number: int) -> list:
        call = self.program.calls[number]
        start, outer, self.path = len(self.layers), self.path, call.path
        outs = self.run(_inner(equation), ins)
        self.path = outer
        spatial = next((value for value in ins if isinstance(value, Spatial)), None)
        shapes = [variable.aval for variable in equation.invars]
        shape = next((aval.shape for aval, value in zip(shapes, ins) if value is spatial), ())
        out = equation.outvars[0].aval if equation.outvars else None
        window = None
        if isinstance(call.module, Conv) and spatial is not None:
            window = _convolution_of(call.module)
            outs = [through_window(spatial, (1, 2), shape[1:3], out.shape[1:3], window)]
        elif isinstance(call.module, WindowAttention) and spatial is not None:
            outs = [through_attention_windows(spatial, shape[1:3], call.module.window, call.module.shift)]
            mixed = next((index for index in range(start, len(self.layers)) if self.layers[index].kind == "MatMul"), len(self.layers))
            for index in range(start, len(self.layers)):
                self.layers[index] = self.layers[index]._replace(spatial=spatial if index < mixed else outs[0])
        own = self.claim_params(call.path)
        folded = [
            layer for layer in self.layers[start:] if layer.function and layer.path == call.path and layer.kind not in _STANDALONE_KINDS
        ]
        if call.leaf and (own or call.path in self.claimed) and out is not None:
            self.layers[start:] = [layer for layer in self.layers[start:] if not any(layer is other for other in folded)]
            windows = [(layer.window, layer.input_size) for layer in folded if layer.window]
            uses, spatial = sum(layer.uses for layer in folded), outs[0] if isinstance(outs[0], Spatial) else None
            if window:  # of a convolution, whatever its implementation
                uses = self.times * math.prod(out.shape) * math.prod(window.size) * (shape[-1] // window.groups)
            window, input_size = (window, shape[1:3]) if window else (windows[-1] if windows else (None, None))
            kind = type(call.module).__name__
            sizes = {name: math.prod(shape) for name, shape in own.items()}
            self.layers.append(Layer(call.path, kind, out.shape, out.dtype.itemsize, sizes, uses, window, input_size, spatial))
        else:
            bare = [Layer((*call.path, name), "Parameter", shape, 0, {name: math.prod(shape)}) for name, shape in own.items()]
            self.layers[start:start] = bare
        return outs

    def _operation(self, equation, ins: list) -> Spatial:
        """The spatial structure after an operation; poolings and products are added to the layers."""
        name, shapes = equation.primitive.name, [variable.aval.shape for variable in equation.invars]
        shape, params = equation.outvars[0].aval.shape, equation.params
        first = ins[0]
        if name == "conv_general_dilated":
            return self._convolution(equation, ins)
        if name == "dot_general":
            return self._product(equation, ins)
        if isinstance(first, Spatial):
            if name.startswith("reduce_window"):
                return self._pooling(equation, first)
            if name in _REDUCTIONS:
                return self._reduction(equation, first)
            if name == "reshape":
                return reshaped(first, shapes[0], shape)
            if name == "transpose":
                return first._replace(axes=tuple(first.axes[axis] for axis in params["permutation"]))
            if name == "squeeze":
                return first._replace(axes=tuple(side for axis, side in enumerate(first.axes) if axis not in params["dimensions"]))
            if name == "broadcast_in_dim":
                axes = [frozenset()] * len(shape)
                for sides, extent, axis in zip(first.axes, shapes[0], params["broadcast_dimensions"]):
                    axes[axis] = sides if extent == shape[axis] else frozenset()
                return first._replace(axes=tuple(axes))
            if name == "slice":
                return sliced(first, shapes[0], params["start_indices"], params["limit_indices"], params["strides"])
            if name == "pad":
                return padded(first, shapes[0], params["padding_config"], shape)
            if name in ("split", "dynamic_slice"):
                return first
        if name == "concatenate":
            own = [(*entry[: params["dimension"]], shape[params["dimension"]], *entry[params["dimension"] + 1 :]) for entry in shapes]
            found = elementwise(ins, own, shape)
            parts = sum(isinstance(value, Spatial) for value in ins)
            return found.unknown_along(params["dimension"]) if parts > 1 else found
        return elementwise(ins, shapes, shape)

    def _add_layer(self, kind: str, equation, spatial: Spatial, uses: int = 0, window: Window | None = None, input_size=None) -> None:
        out = equation.outvars[0].aval
        self.layers.append(Layer(self.path, kind, out.shape, out.dtype.itemsize, {}, uses * self.times, window, input_size, spatial, True))

    def _convolution(self, equation, ins: list) -> Spatial:
        image, kernel = (variable.aval.shape for variable in equation.invars)
        shape, params = equation.outvars[0].aval.shape, equation.params
        numbers = params["dimension_numbers"]
        uses = math.prod(shape) * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
        spatial = ins[0] if isinstance(ins[0], Spatial) else ins[1].summed_over(ins[1].sides())
        spatial_axes, sides = numbers.lhs_spec[2:], spatial.axes[numbers.lhs_spec[1]]
        window = None
        if len(spatial_axes) == 2:
            size = tuple(kernel[axis] for axis in numbers.rhs_spec[2:])
            groups = params["feature_group_count"]
            window = Window(size, params["window_strides"], params["padding"], params["rhs_dilation"], groups)
        input_size, counts = (tuple(sizes[axis] for axis in axes) for sizes, axes in ((image, spatial_axes), (shape, numbers.out_spec[2:])))
        if window is None or set(params["lhs_dilation"]) != {1}:
            for axis in spatial_axes:
                spatial = spatial.unknown_along(axis)
        else:
            spatial = through_window(spatial, spatial_axes, input_size, counts, window)
        axes = {out: spatial.axes[axis] for out, axis in zip(numbers.out_spec, numbers.lhs_spec)}
        axes[numbers.out_spec[1]] = frozenset()
        spatial = spatial._replace(axes=tuple(axes[axis] for axis in range(len(shape)))).summed_over(sides)
        self._add_layer("Conv", equation, spatial, uses, window, input_size)
        return spatial

    def _product(self, equation, ins: list) -> Spatial:
        (contracted, batched), found = equation.params["dimension_numbers"], []
        shape = equation.outvars[0].aval.shape
        count = len(batched[0])
        free = [0, 0]
        for index, variable in enumerate(equation.invars):
            free[index] = [axis for axis in range(variable.aval.ndim) if axis not in (*contracted[index], *batched[index])]
        for index, spatial in enumerate(ins):
            if not isinstance(spatial, Spatial):
                continue
            sides = frozenset().union(*(spatial.axes[axis] for axis in contracted[index]))
            axes = [spatial.axes[axis] for axis in batched[index]] + [frozenset()] * (len(shape) - count)
            begin = count + (len(free[0]) if index else 0)
            for offset, axis in enumerate(free[index]):
                axes[begin + offset] = spatial.axes[axis]
            found.append(spatial._replace(axes=tuple(axes)).summed_over(sides))
        spatial = elementwise(found, [shape] * len(found), shape)
        if len(found) == 2:  # every position is combined with every other
            spatial = spatial.summed_over(spatial.sides())
        fixed = len(found) == 1 and PARAMETER not in ins
        uses = math.prod(shape) * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted[0])
        kind = "GridMean" if fixed else "MatMul" if len(found) == 2 else "Linear"
        self._add_layer(kind, equation, spatial, 0 if fixed else uses)
        return spatial

    def _pooling(self, equation, spatial: Spatial) -> Spatial:
        params, before, after = equation.params, equation.invars[0].aval.shape, equation.outvars[0].aval.shape
        axes = tuple(axis for axis in range(len(before)) if spatial.axes[axis])
        if len(axes) != 2 or any(params["window_dimensions"][axis] > 1 for axis in range(len(before)) if axis not in axes):
            along = any(spatial.axes[axis] and params["window_dimensions"][axis] > 1 for axis in range(len(before)))
            for axis in range(len(before)) if along else ():
                spatial = spatial.unknown_along(axis)
            self._add_layer("Pool" if along else "ResponseNorm", equation, spatial)
            return spatial
        size, stride, padding, dilation = (
            tuple(params[name][axis] for axis in axes) for name in ("window_dimensions", "window_strides", "padding", "window_dilation")
        )
        window = Window(size, stride, padding, dilation)
        input_size, counts = (tuple(shape[axis] for axis in axes) for shape in (before, after))
        spatial = through_window(spatial, axes, input_size, counts, window)
        kind = {"reduce_window_max": "MaxPool", "reduce_window_sum": "AveragePool"}.get(equation.primitive.name, "Pool")
        self._add_layer(kind, equation, spatial, 0, window, input_size)
        return spatial

    def _reduction(self, equation, spatial: Spatial) -> Spatial:
        axes = equation.params["axes"]
        sides = frozenset().union(*(spatial.axes[axis] for axis in axes))
        spatial = spatial.summed_over(sides)
        spatial = spatial._replace(axes=tuple(side for axis, side in enumerate(spatial.axes) if axis not in axes))
        if sides and not spatial.sides():
            self._add_layer(_REDUCTIONS[equation.primitive.name], equation, spatial)
        return spatial


_CALL_PRIMITIVES = (
    "jit",
    "pjit",
    "closed_call",
    "core_call",
    "custom_jvp_call",
    "custom_vjp_call",
    "custom_vjp_call_jaxpr",
    "remat",
    "checkpoint",
    "scan",
)
_STANDALONE_KINDS = ("MaxPool", "AveragePool", "Pool", "MatMul")  # rows of their own, even inside a module that has parameters
_REDUCTIONS = {
    "reduce_sum": "GlobalMean",
    "reduce_max": "GlobalMax",
    "reduce_min": "GlobalMin",
    "reduce_prod": "GlobalProduct",
    "reduce_and": "GlobalAnd",
    "reduce_or": "GlobalOr",
    "argmax": "ArgMax",
    "argmin": "ArgMin",
}


def layers_of(program: Program, shapes: list[tuple[int, ...]]) -> list[Layer]:
    """The layers of a program whose inputs have ``shapes``. Parameters that it never reads come last, one row for each top-level name."""
    interpreter = Interpreter(program)
    jaxpr = program.jaxpr.jaxpr
    interpreter.run(jaxpr, [PARAMETER] * program.variables + [input_spatial(shape) for shape in shapes])

    def rest(node, path):
        own = interpreter.claim_params(path)
        counts = {"/".join((*path[1:], name)): math.prod(shape) for name, shape in own.items()}
        for name, child in node.items():
            if hasattr(child, "items"):
                counts |= rest(child, (*path, name))
        return counts

    for name, node in program.params.items():
        if hasattr(node, "items") and (unused := rest(node, (name,))):
            interpreter.layers.append(Layer((name,), "unused", (), 0, unused))
    return interpreter.layers
