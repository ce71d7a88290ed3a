"""Lifeline: a worker process ends when the process that wanted its work is gone."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from multiprocessing.connection import wait

PATIENCE = 5.0  # s that a worker has for coming to a good moment, and again for tidying up
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def die_with_parent() -> None:
    """End this process, by SIGTERM and after a while by SIGKILL, when its parent is gone.

    There are two parents. The kernel watches the one that forked this process, which may be a fork server, where it can
    (Linux); and the one that started it through `multiprocessing` holds a pipe open as long as it lives. The pipe of
    one that is gone already says so at once.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent.sentinel,), name="lifeline", daemon=True).start()


def _follow(sentinel: int) -> None:
    wait([sentinel])
    # The main thread tidies up: the run says that it was cut short. Asked twice, it does not wait for a good moment.
    for number in (signal.SIGTERM, signal.SIGTERM, getattr(signal, "SIGKILL", signal.SIGTERM)):
        os.kill(os.getpid(), number)
        time.sleep(PATIENCE)
