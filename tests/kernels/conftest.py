"""Kernels run in Triton's interpreter, which `tests/conftest.py` switched on: its bf16 is mended here.

The interpreter (Triton 3.6.0 and 3.7.1) keeps bf16 as bit patterns in uint16 arrays, and then computes with
those as if they were numbers: a dot or a sum of bf16 is one of bit patterns, and fp32 is cut off, not
rounded, on its way to bf16. Here every operation on bf16 goes through fp32, where all bf16 are exact, and
back by rounding to nearest even, as the hardware does it. Loads, stores, selections and reshapes only move
bits and stay as they are; `atomic_add` of bf16 raises, with or without this.
"""

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).parent))  # `import precision`


def _decoded(bits: Any) -> Any:
    """fp32 of bf16's bit patterns."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _encoded(values: Any) -> Any:
    """bf16's bit patterns of numbers, each first in fp32, then rounded to nearest even; NaN stays NaN."""
    with np.errstate(over="ignore"):
        bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32).reshape(np.shape(values))
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    return np.where((bits & 0x7FFFFFFF) > 0x7F800000, (bits >> 16) | 0x40, rounded).astype(np.uint16)


def _mend_bf16() -> None:
    import triton.language as tl
    from triton.runtime import interpreter

    builder, handle = interpreter.InterpreterBuilder, interpreter.TensorHandle
    truncates = interpreter._ir.ROUNDING_MODE.RTZ

    def is_bf16(x: Any) -> bool:
        return bool(x.dtype.scalar == tl.bfloat16)

    def number(x: Any) -> Any:
        return handle(_decoded(x.data), tl.float32) if is_bf16(x) else x

    def computed(original: Any) -> Any:
        """An operation on fp32 whose result is bf16 again, unless it is a comparison."""

        @functools.wraps(original)
        def operation(self: Any, *args: Any) -> Any:
            if not any(isinstance(x, handle) and is_bf16(x) for x in args):
                return original(self, *args)
            result = original(self, *(number(x) if isinstance(x, handle) else x for x in args))
            if result.data.dtype == np.bool_:
                return handle(result.data, tl.int1)
            return handle(_encoded(result.data), tl.bfloat16)

        return operation

    def cast(original: Any) -> Any:
        @functools.wraps(original)
        def operation(self: Any, src: Any, dst_type: Any, *rounding: Any) -> Any:
            target = dst_type.scalar
            if is_bf16(src) == (target == tl.bfloat16):
                return handle(src.data, target) if is_bf16(src) else original(self, src, dst_type, *rounding)
            if is_bf16(src):
                return builder.cast_impl(self, number(src), dst_type)
            if rounding and rounding[0] == truncates:
                return original(self, src, dst_type, *rounding)
            return handle(_encoded(src.data), tl.bfloat16)

        return operation

    @functools.wraps(builder.create_dot)
    def create_dot(self: Any, a: Any, b: Any, d: Any, *options: Any) -> Any:
        return create_dot.__wrapped__(self, number(a), number(b), d, *options)  # type: ignore[attr-defined]

    @functools.wraps(interpreter.ReduceOps.sum)
    def reduce_sum(self: Any, x: Any) -> Any:
        original = reduce_sum.__wrapped__  # type: ignore[attr-defined]
        if x.dtype != tl.bfloat16:
            return original(self, x)
        total = original(self, tl.tensor(number(x.handle), tl.block_type(tl.float32, x.shape)))
        bits = _encoded(total.handle.data)
        return self.to_tensor(bits if total.type.is_block() else bits[0], tl.bfloat16)

    def get_bf16(self: Any, value: float) -> Any:
        return handle(_encoded(np.array([value])), tl.bfloat16)

    builder.create_dot, builder.get_bf16, interpreter.ReduceOps.sum = create_dot, get_bf16, reduce_sum
    for name in ("cast_impl", "create_fp_to_fp"):
        setattr(builder, name, cast(getattr(builder, name)))
    for name in ("binary_op", "unary_op", "create_clampf", "create_fma"):
        setattr(builder, name, computed(getattr(builder, name)))


if importlib.util.find_spec("triton"):
    _mend_bf16()
