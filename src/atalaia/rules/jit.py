"""How the kernel's functions are compiled: kept between starts, without holding Python's lock.

They make no arrays, only write into those that they are given, and so need none of numba's
counting of references: with it, every array that a function passes on costs two atomic
operations, which were nine tenths of the time per reading. Division by zero is tested for.

With NUMBA_DISABLE_JIT=1 the same source runs as plain Python.
"""

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit

F = TypeVar("F", bound=Callable[..., object])

# `_nrt` is no public name, but what numba compiles its own text functions with.
_OPTIONS: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy", "_nrt": False}

compiled: Callable[[F], F] = njit(**_OPTIONS)

inlined: Callable[[F], F] = njit(**_OPTIONS, forceinline=True)
"""For small functions within the loop over readings: their array arguments are not copied."""
