"""Loops over scores: plain Python where there is little to do, compiled by numba where there is more.

To load numba and what it compiled takes a second, in which Python gets through some hundred thousand scores by itself.
So a *kernel* is a plain function of numbers and arrays, and `fastest` gives it or its compiled form, whose results are
the same to the last bit: a kernel adds one number after the other, and widens small integers before it computes.
Compiled functions (seconds at the first call ever, then cached beside their file) release the GIL. numba's cache
notices a change only in the file of a function itself, so that a kernel calls only kernels of its own module.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np

#: Scores, or other steps of some microseconds, that the kernels of one process go through uncompiled, all together.
UNCOMPILED = 2**13
_LOCK, _COMPILED = threading.Lock(), {}
_done = 0


def kernel(function: Callable) -> Callable:
    """Mark a function as a kernel of its module."""
    function.is_kernel = True
    return function


def fastest(function: Callable, work: int) -> Callable:
    """A kernel, compiled where this process has more to do than `UNCOMPILED`, the `work` of this call included."""
    global _done
    _done += work
    return function if _done <= UNCOMPILED else compiled(function)


def compiled(function: Callable) -> Callable:
    """The compiled form of a kernel."""
    with _LOCK:
        if function.__module__ not in _COMPILED:
            _COMPILED[function.__module__] = _compile_module(vars(sys.modules[function.__module__]))
        return _COMPILED[function.__module__][function.__name__]


def _compile_module(names: dict[str, Any]) -> dict[str, Any]:
    """The names of a module, with its kernels compiled (by numba, when each is called first)."""
    from llvmlite import ir
    from numba import njit, types
    from numba.extending import intrinsic, overload

    @intrinsic
    def count_bits(typingctx, word):
        def codegen(context, builder, signature, args):
            return builder.ctpop(builder.bitcast(args[0], ir.IntType(64)))

        return types.uint64(types.uint64), codegen

    overload(np.bitwise_count)(lambda word: lambda word: count_bits(word))  # which numba has not
    names = dict(names)
    for name, value in list(names.items()):
        if hasattr(value, "is_kernel"):
            names[name] = njit(nogil=True, cache=True)(FunctionType(value.__code__, names, name))
    return names
