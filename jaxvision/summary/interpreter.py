"""From the equations of a program to its layers: every call of a module with parameters, every pooling and every product beside them."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
from jax.extend import core

from jaxvision.kernels._primitive import reference_of
from jaxvision.layers import Conv, WindowAttention
from jaxvision.summary.propagation import Seen, Window, joined, padded, reshaped, seen_image, sliced, through_groups, through_window
from jaxvision.summary.tracing import Program, call_number

PARAMETER = "parameter"  # the mark of what is computed from parameters alone


class Layer(NamedTuple):
    """What one layer is and does in a batch of one; ``uses`` counts products of two numbers that are added up, ``params`` by name."""

    path: tuple[str, ...]
    kind: str
    shape: tuple[int, ...]
    itemsize: int
    params: dict[str, int]
    uses: int = 0
    window: Window | None = None
    extents: tuple[int, int] | None = None  # of what the window slides over
    seen: Seen | None = None
    function: bool = False  # not a module, but a function called in one


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _convolution_of(module: Conv) -> Window:
    padding = tuple((length, length) for length in _pair(module.padding))
    return Window(_pair(module.kernel_size), _pair(module.stride), padding, _pair(module.dilation), module.groups)


def _inner(equation) -> Any:
    """The program that an equation runs: of a kernel its reference implementation, of other primitives without a program None."""
    reference = reference_of(equation.primitive)
    if reference is not None:
        return jax.make_jaxpr(partial(reference, **equation.params))(*(variable.aval for variable in equation.invars)).jaxpr
    if equation.primitive.name not in _RUNS:
        return None
    found = [value for value in equation.params.values() if isinstance(value, core.Jaxpr | core.ClosedJaxpr)]
    return (found[0].jaxpr if isinstance(found[0], core.ClosedJaxpr) else found[0]) if found else None


class Walk:
    """One pass over a program; ``layers`` in the order in which they are computed."""

    def __init__(self, program: Program):
        self.program = program
        self.layers: list[Layer] = []
        self.path: tuple[str, ...] = ()
        self.times = 1  # how often a loop runs what is inside it
        self.claimed: set[tuple[str, ...]] = set()

    def take(self, path: tuple[str, ...]) -> dict[str, tuple[int, ...]]:
        """Shapes of the parameters directly at ``path``, which no later layer gets."""
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
        """Values of the results of a program whose arguments have ``values``: a Seen, PARAMETER, or None for a constant."""
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
            if equation.primitive.name == "scan":  # the place along the loop is lost
                shapes = [variable.aval.shape for variable in equation.outvars]
                outs = [joined([out], [()], shape) if isinstance(out, Seen) else out for out, shape in zip(outs, shapes)]
            return outs
        if not any(isinstance(value, Seen) for value in ins):
            return [PARAMETER if PARAMETER in ins else None] * len(equation.outvars)
        return [self._operation(equation, ins)] * len(equation.outvars)

    def _call(self, equation, ins: list, number: int) -> list:
        call = self.program.calls[number]
        start, outer, self.path = len(self.layers), self.path, call.path
        outs = self.run(_inner(equation), ins)
        self.path = outer
        seen = next((value for value in ins if isinstance(value, Seen)), None)
        shapes = [variable.aval for variable in equation.invars]
        shape = next((aval.shape for aval, value in zip(shapes, ins) if value is seen), ())
        out = equation.outvars[0].aval if equation.outvars else None
        window = None
        if isinstance(call.module, Conv) and seen is not None:
            window = _convolution_of(call.module)
            outs = [through_window(seen, (1, 2), shape[1:3], out.shape[1:3], window)]
        elif isinstance(call.module, WindowAttention) and seen is not None:
            outs = [through_groups(seen, shape[1:3], call.module.window, call.module.shift)]
            mixed = next((index for index in range(start, len(self.layers)) if self.layers[index].kind == "MatMul"), len(self.layers))
            for index in range(start, len(self.layers)):
                self.layers[index] = self.layers[index]._replace(seen=seen if index < mixed else outs[0])
        own = self.take(call.path)
        folded = [layer for layer in self.layers[start:] if layer.function and layer.path == call.path and layer.kind not in _APART]
        if call.leaf and (own or call.path in self.claimed) and out is not None:
            self.layers[start:] = [layer for layer in self.layers[start:] if not any(layer is other for other in folded)]
            windows = [(layer.window, layer.extents) for layer in folded if layer.window]
            uses, seen = sum(layer.uses for layer in folded), outs[0] if isinstance(outs[0], Seen) else None
            if window:  # a convolution's, in whatever form it is computed here
                uses = self.times * math.prod(out.shape) * math.prod(window.size) * (shape[-1] // window.groups)
            window, extents = (window, shape[1:3]) if window else (windows[-1] if windows else (None, None))
            kind = type(call.module).__name__
            sizes = {name: math.prod(shape) for name, shape in own.items()}
            self.layers.append(Layer(call.path, kind, out.shape, out.dtype.itemsize, sizes, uses, window, extents, seen))
        else:
            bare = [Layer((*call.path, name), "Parameter", shape, 0, {name: math.prod(shape)}) for name, shape in own.items()]
            self.layers[start:start] = bare
        return outs

    def _operation(self, equation, ins: list) -> Seen:
        """What an operation on something seen has seen; poolings and products are noted as layers."""
        name, shapes = equation.primitive.name, [variable.aval.shape for variable in equation.invars]
        shape, params = equation.outvars[0].aval.shape, equation.params
        first = ins[0]
        if name == "conv_general_dilated":
            return self._convolution(equation, ins)
        if name == "dot_general":
            return self._product(equation, ins)
        if isinstance(first, Seen):
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
            found = joined(ins, own, shape)
            parts = sum(isinstance(value, Seen) for value in ins)
            return found.lost(params["dimension"]) if parts > 1 else found
        return joined(ins, shapes, shape)

    def _note(self, kind: str, equation, seen: Seen, uses: int = 0, window: Window | None = None, extents=None) -> None:
        out = equation.outvars[0].aval
        self.layers.append(Layer(self.path, kind, out.shape, out.dtype.itemsize, {}, uses * self.times, window, extents, seen, True))

    def _convolution(self, equation, ins: list) -> Seen:
        image, kernel = (variable.aval.shape for variable in equation.invars)
        shape, params = equation.outvars[0].aval.shape, equation.params
        numbers = params["dimension_numbers"]
        uses = math.prod(shape) * math.prod(kernel) // kernel[numbers.rhs_spec[0]]
        seen = ins[0] if isinstance(ins[0], Seen) else ins[1].blurred(ins[1].sides())
        places, sides = numbers.lhs_spec[2:], seen.axes[numbers.lhs_spec[1]]
        window = None
        if len(places) == 2:
            size = tuple(kernel[axis] for axis in numbers.rhs_spec[2:])
            groups = params["feature_group_count"]
            window = Window(size, params["window_strides"], params["padding"], params["rhs_dilation"], groups)
        extents, counts = (tuple(from_[axis] for axis in axes) for from_, axes in ((image, places), (shape, numbers.out_spec[2:])))
        if window is None or set(params["lhs_dilation"]) != {1}:
            for axis in places:
                seen = seen.lost(axis)
        else:
            seen = through_window(seen, places, extents, counts, window)
        axes = {out: seen.axes[axis] for out, axis in zip(numbers.out_spec, numbers.lhs_spec)}
        axes[numbers.out_spec[1]] = frozenset()
        seen = seen._replace(axes=tuple(axes[axis] for axis in range(len(shape)))).blurred(sides)
        self._note("Conv", equation, seen, uses, window, extents)
        return seen

    def _product(self, equation, ins: list) -> Seen:
        (contracted, batched), found = equation.params["dimension_numbers"], []
        shape = equation.outvars[0].aval.shape
        count = len(batched[0])
        free = [0, 0]
        for index, variable in enumerate(equation.invars):
            free[index] = [axis for axis in range(variable.aval.ndim) if axis not in (*contracted[index], *batched[index])]
        for index, seen in enumerate(ins):
            if not isinstance(seen, Seen):
                continue
            sides = frozenset().union(*(seen.axes[axis] for axis in contracted[index]))
            axes = [seen.axes[axis] for axis in batched[index]] + [frozenset()] * (len(shape) - count)
            begin = count + (len(free[0]) if index else 0)
            for offset, axis in enumerate(free[index]):
                axes[begin + offset] = seen.axes[axis]
            found.append(seen._replace(axes=tuple(axes)).blurred(sides))
        seen = joined(found, [shape] * len(found), shape)
        if len(found) == 2:  # every place meets every other
            seen = seen.blurred(seen.sides())
        fixed = len(found) == 1 and PARAMETER not in ins
        uses = math.prod(shape) * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted[0])
        kind = "GridMean" if fixed else "MatMul" if len(found) == 2 else "Linear"
        self._note(kind, equation, seen, 0 if fixed else uses)
        return seen

    def _pooling(self, equation, seen: Seen) -> Seen:
        params, before, after = equation.params, equation.invars[0].aval.shape, equation.outvars[0].aval.shape
        axes = tuple(axis for axis in range(len(before)) if seen.axes[axis])
        if len(axes) != 2 or any(params["window_dimensions"][axis] > 1 for axis in range(len(before)) if axis not in axes):
            along = any(seen.axes[axis] and params["window_dimensions"][axis] > 1 for axis in range(len(before)))
            for axis in range(len(before)) if along else ():
                seen = seen.lost(axis)
            self._note("Pool" if along else "ResponseNorm", equation, seen)
            return seen
        size, stride, padding, dilation = (
            tuple(params[name][axis] for axis in axes) for name in ("window_dimensions", "window_strides", "padding", "window_dilation")
        )
        window = Window(size, stride, padding, dilation)
        extents, counts = (tuple(shape[axis] for axis in axes) for shape in (before, after))
        seen = through_window(seen, axes, extents, counts, window)
        kind = {"reduce_window_max": "MaxPool", "reduce_window_sum": "AveragePool"}.get(equation.primitive.name, "Pool")
        self._note(kind, equation, seen, 0, window, extents)
        return seen

    def _reduction(self, equation, seen: Seen) -> Seen:
        axes = equation.params["axes"]
        sides = frozenset().union(*(seen.axes[axis] for axis in axes))
        seen = seen.blurred(sides)
        seen = seen._replace(axes=tuple(side for axis, side in enumerate(seen.axes) if axis not in axes))
        if sides and not seen.sides():
            self._note(_REDUCTIONS[equation.primitive.name], equation, seen)
        return seen


_RUNS = (
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
_APART = ("MaxPool", "AveragePool", "Pool", "MatMul")  # never part of the layer of a module that has parameters
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
    """The layers of a program whose inputs have ``shapes``, and at the end the parameters that it never reads, by top level."""
    walk = Walk(program)
    jaxpr = program.jaxpr.jaxpr
    walk.run(jaxpr, [PARAMETER] * program.variables + [seen_image(shape) for shape in shapes])

    def rest(node, path):
        own = walk.take(path)
        counts = {"/".join((*path[1:], name)): math.prod(shape) for name, shape in own.items()}
        for name, child in node.items():
            if hasattr(child, "items"):
                counts |= rest(child, (*path, name))
        return counts

    for name, node in program.params.items():
        if hasattr(node, "items") and (unused := rest(node, (name,))):
            walk.layers.append(Layer((name,), "unused", (), 0, unused))
    return walk.layers
