"""Worlds that can be drawn on every machine."""

from __future__ import annotations

import pytest

from lopgym.envs import environments
from tests.play import WORLDS

# MuJoCo draws with OpenGL, which a machine without a display can lack: tests/test_borrowed.py looks at its pictures.
DRAWN = [world for world in WORLDS if getattr(environments[world].make, "extra", None) != "mujoco"]
every_drawn = pytest.mark.parametrize("world", DRAWN)
