"""Keeps memory that was freed for the next iteration, where the C library would give it back to the system."""

import ctypes
import platform

# Parameters of glibc's mallopt, see malloc.h.
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4

LARGEST_THRESHOLD = 2**31 - 1  # bytes; the largest value that mallopt takes


def keep_freed_memory() -> bool:
    """Let this process, and those it forks, use freed memory again instead of asking the system for new pages.

    Every iteration of a training allocates and frees the same arrays. Those above 32 MiB glibc maps and unmaps each
    time, and the system fills their pages with zeros, page by page: on CPUs a tenth of an iteration of the nano network
    at batch 16. The price is that up to 2 GB stay with the process when they are free.

    Returns:
        Whether the C library is one that can be told (glibc, on Linux).
    """
    if platform.libc_ver()[0] != 'glibc':
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, LARGEST_THRESHOLD))
