"""Memory in pages of 2 MiB instead of 4 KiB, for what is read at random.

Reading a vector here and one there, a processor spends as long on finding where their small pages lie as on reading.
Linux alone, from 6.1; elsewhere nothing happens. https://man7.org/linux/man-pages/man2/madvise.2.html, MADV_COLLAPSE.
"""

import ctypes
import sys
from typing import Final

_COLLAPSE: Final = 25
_PAGE: Final = 4096
_WORTHWHILE: Final = 32 << 20  # bytes; less lies in the processor's caches, or nearly
_STEP: Final = 64 << 20  # bytes at a time


def use_huge_pages(address: int, size: int) -> bool:
    """Move ``size`` bytes of this process's memory into huge pages; whether that was done.

    What lies there stays readable and writable meanwhile, a page of it at a time is held up. 0.2 s of computing for
    each GB that is not in such pages yet. Memory that is not there, or a system that has none to give, is no error.
    """
    if sys.platform != "linux" or size < _WORTHWHILE:
        return False
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    first, end = -(-address // _PAGE) * _PAGE, (address + size) // _PAGE * _PAGE
    done = [advise(start, min(_STEP, end - start), _COLLAPSE) == 0 for start in range(first, end, _STEP)]
    return all(done)
