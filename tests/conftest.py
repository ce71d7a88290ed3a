"""What every test gets: one thread, no display, repeatable examples."""

import os
from pathlib import Path

# Before the first import of numpy, torch, matplotlib or pygame: they read these once.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")

import pytest
from hypothesis import settings

pytest_plugins = ["tests.fault_table"]

# The same examples in every run, and no deadline: a busy machine is not a fault of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def root() -> Path:
    """Return the top of the repository."""
    return Path(__file__).parents[1]
