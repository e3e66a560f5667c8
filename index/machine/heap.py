"""Memory that was freed and that the C library keeps for itself."""

import ctypes


def return_freed() -> None:
    """Give it back to the system, where the C library can; one that cannot does so by itself, or never."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(ctypes.c_size_t(0))
