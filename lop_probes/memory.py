"""Memory: what measurements use is kept for the next one."""

from __future__ import annotations

import torch

TEMPORARY = 31 * 2**20  # bytes; the C library learns from blocks up to 32 MiB


def keep_freed_memory() -> None:
    """Have the C library keep the memory that a measurement frees, up to some 60 MiB, instead of mapping it anew.

    On Linux large blocks otherwise go back to the system whenever they are freed, and mapping them again takes longer
    than most probes. glibc takes sizes that are freed for temporary and keeps twice as much (mallopt(3), on
    M_MMAP_THRESHOLD): it is shown one block, whose pages are never touched. Elsewhere this does nothing.
    """
    torch.empty(TEMPORARY, dtype=torch.uint8)
