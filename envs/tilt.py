"""Gravity that points elsewhere than down, and its two parts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class TiltedGravity:
    """What follows from the strength of gravity and its direction, 0 rad for down, positive to the right."""

    gravity: float
    gravity_angle: float

    @property
    def gravity_down(self) -> float:
        """The part of gravity that pulls down, in its unit."""
        angle: Any = self.gravity_angle
        cosine: float = math.cos(angle) if type(angle) is float else np.cos(angle)
        return self.gravity * cosine

    @property
    def gravity_right(self) -> float:
        """The part of gravity that pulls to the right, in its unit."""
        angle: Any = self.gravity_angle
        sine: float = math.sin(angle) if type(angle) is float else np.sin(angle)
        return self.gravity * sine
