"""Functions compiled to machine code, kept between processes wherever there is a place for it.

Source: numba.
"""

from collections.abc import Callable

import numba


def compiled(function: Callable | None = None, **options) -> Callable:
    """Compile a function when it is first called; a decorator with numba's options, or without any.

    The machine code is kept beside the package or in the home folder. Where neither can be written it is compiled in
    every process anew, which takes seconds; NUMBA_CACHE_DIR names another folder.

    Source: ours.
    """
    if function is None:
        return lambda decorated: compiled(decorated, **options)
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba: "cannot cache function: no locator available"
        return numba.njit(**options)(function)
