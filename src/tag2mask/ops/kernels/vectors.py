"""Short vectors of float32 inside numba kernels: one machine instruction works on all lanes.

Numba leaves the vectorising of loops to its compiler, which gives up on loops as short as the number of
labels. With these, a kernel says it outright. They are written in the compiler's own portable terms: any
machine runs them. Inside a kernel, an argument ``lanes`` must be a literal or a global constant.
"""

# The code generators get whatever numba hands them.
# mypy: disallow-untyped-defs = false, disallow-untyped-calls = false

from __future__ import annotations

from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import register_model

intrinsic: Any = numba_intrinsic
"""Its own types know nothing of the first argument, which numba fills in."""

FLOAT, INT = ir.FloatType(), ir.IntType(32)


class Vector(types.Type):
    """The numba type of a vector of float32."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(name=f"Vector({lanes})")


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    """How a `Vector` lies in a register."""

    def __init__(self, manager: Any, vector: Vector) -> None:
        super().__init__(manager, vector, ir.VectorType(FLOAT, vector.lanes))


def _fill(builder, value, lanes):
    """The vector that holds one value in all lanes."""
    empty = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(empty, value, ir.Constant(INT, 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(INT, lanes), [0] * lanes))


def _address(context, builder, signature, arguments, lanes):
    """Where in the array the vector lies."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    start = builder.gep(array.data, [arguments[1]])
    return builder.bitcast(start, ir.VectorType(FLOAT, lanes).as_pointer())


@intrinsic(prefer_literal=True)
def load(_, array, index, lanes):
    """array[index : index + lanes] of a contiguous one-dimensional float32 array, unchecked."""
    width = lanes.literal_value

    def code(context, builder, signature, arguments):
        return builder.load(_address(context, builder, signature, arguments, width), align=4)

    return Vector(width)(array, types.intp, lanes), code


@intrinsic
def store(_, array, index, vector):
    """array[index : index + lanes] = vector, unchecked."""

    def code(context, builder, signature, arguments):
        address = _address(context, builder, signature, arguments, vector.lanes)
        builder.store(arguments[2], address, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), code


@intrinsic(prefer_literal=True)
def fill(_, value, lanes):
    """The vector that holds one float32 in all lanes."""
    width = lanes.literal_value

    def code(_context, builder, _signature, arguments):
        return _fill(builder, arguments[0], width)

    return Vector(width)(types.float32, lanes), code


@intrinsic
def fill_like(_, value, vector):
    """The vector that holds one float32 in as many lanes as another vector has."""

    def code(_context, builder, _signature, arguments):
        return _fill(builder, arguments[0], vector.lanes)

    return vector(types.float32, vector), code


@intrinsic
def add(_, a, b):
    """a + b."""
    return a(a, b), lambda _context, builder, _signature, arguments: builder.fadd(*arguments)


@intrinsic
def subtract(_, a, b):
    """a - b."""
    return a(a, b), lambda _context, builder, _signature, arguments: builder.fsub(*arguments)


@intrinsic
def multiply(_, a, b):
    """a * b."""
    return a(a, b), lambda _context, builder, _signature, arguments: builder.fmul(*arguments)


@intrinsic
def divide(_, a, b):
    """a / b."""
    return a(a, b), lambda _context, builder, _signature, arguments: builder.fdiv(*arguments)


@intrinsic
def fma(_, a, b, c):
    """a * b + c, rounded once where the machine can."""

    def code(_context, builder, _signature, arguments):
        kind = arguments[0].type
        name = f"llvm.fmuladd.v{a.lanes}f32"
        function = cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return builder.call(function, arguments)

    return a(a, b, c), code


@intrinsic
def maximum(_, a, b):
    """The larger one; no NaN allowed."""

    def code(_context, builder, _signature, arguments):
        return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

    return a(a, b), code


def _halve(builder, value, lanes, combine):
    """Fold the upper half onto the lower one until one lane is left: an order of sums that stays."""
    while lanes > 1:
        lanes //= 2
        low, high = (
            builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(INT, lanes), list(range(a, a + lanes))))
            for a in (0, lanes)
        )
        value = combine(low, high)
    return builder.extract_element(value, ir.Constant(INT, 0))


@intrinsic
def total(_, vector):
    """The sum of the lanes, a float32."""

    def code(_context, builder, _signature, arguments):
        return _halve(builder, arguments[0], vector.lanes, builder.fadd)

    return types.float32(vector), code


@intrinsic
def largest(_, vector):
    """The largest lane, a float32."""

    def code(_context, builder, _signature, arguments):
        def larger(a, b):
            return builder.select(builder.fcmp_ordered(">", a, b), a, b)

        return _halve(builder, arguments[0], vector.lanes, larger)

    return types.float32(vector), code


@intrinsic
def power_of_two(_, vector):
    """2 ** vector, for whole numbers in -126..127."""

    def code(_context, builder, _signature, arguments):
        kind = ir.VectorType(INT, vector.lanes)
        biased = builder.add(builder.fptosi(arguments[0], kind), ir.Constant(kind, [127] * vector.lanes))
        return builder.bitcast(builder.shl(biased, ir.Constant(kind, [23] * vector.lanes)), arguments[0].type)

    return vector(vector), code


@intrinsic
def where_above(_, a, b, value):
    """value where a > b, 0 elsewhere."""

    def code(_context, builder, _signature, arguments):
        zero = ir.Constant(arguments[2].type, [0.0] * value.lanes)
        return builder.select(builder.fcmp_ordered(">", *arguments[:2]), arguments[2], zero)

    return value(a, b, value), code


@intrinsic
def minimum(_, a, b):
    """The smaller one; no NaN allowed."""

    def code(_context, builder, _signature, arguments):
        return builder.select(builder.fcmp_ordered("<", *arguments), *arguments)

    return a(a, b), code
