"""MuJoCo's bodies as Gymnasium has them, with gravity, masses, sizes, friction, damping and gears that drift."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from lopgym.envs.borrowed import Borrowed
from lopgym.envs.mujoco_model import CompiledModel, mujoco, unheard
from lopgym.physics import Physics, param

_MADE_ANEW = ("model", "data", "mujoco_renderer")  # with every copy
_SCREENS = ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")
RENDERED: dict[str, Any] = {"render_modes": ["rgb_array", "depth_array", "rgbd_tuple"]}


@dataclass(frozen=True, eq=False)
class BodyPhysics(Physics):
    """What can drift in every body. A scale multiplies what the model of the body says, part by part."""

    mass_scale: float = param(1.0, low=0.2, high=5.0, unit="1", doc="masses and inertias of all parts")
    size_scale: float = param(1.0, low=0.5, high=1.5, unit="1", doc="thickness of all parts, at their density")
    gear_scale: float = param(1.0, low=0.1, high=2.0, unit="1", doc="strength of all motors")


@dataclass(frozen=True, eq=False)
class DampedPhysics(BodyPhysics):
    """What can drift where joints are damped, too."""

    damping_scale: float = param(1.0, low=0.1, high=5.0, unit="1", doc="damping of all joints")


@dataclass(frozen=True, eq=False)
class UprightPhysics(DampedPhysics):
    """What can drift where gravity matters, too."""

    gravity: float = param(9.81, low=1.0, high=30.0, unit="m/s^2", doc="pull downwards")


@dataclass(frozen=True, eq=False)
class WalkerPhysics(UprightPhysics):
    """What can drift where a body touches the ground, too."""

    friction_scale: float = param(1.0, low=0.01, high=5.0, unit="1", doc="sliding friction of all surfaces")


class MuJoCoBody(Borrowed):
    """One of Gymnasium's MuJoCo environments (v5), bit for bit as long as nothing has moved.

    What hangs on a parameter follows: inertias on masses, masses and inertias on sizes, and what MuJoCo derives from
    them when it compiles a model. A copy, by `copy.deepcopy` or `pickle`, goes on exactly as the original.
    """

    extra = "mujoco"
    metadata = RENDERED

    def __init__(self, render_mode: str | None = None) -> None:
        """Load the body.

        Raises:
            gymnasium.error.DependencyNotInstalled: MuJoCo is not installed.
            gymnasium.error.Error: there is no display to draw with.
        """
        self._load(render_mode)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs to go on."""
        theirs = vars(self.unwrapped)
        kept = {name: value for name, value in theirs.items() if name not in _MADE_ANEW}
        return {"physics": self.physics, "kept": kept, "data": theirs["data"]}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Load the body, then take it to where the original was."""
        self._load(state["kept"]["render_mode"])
        self.physics = state["physics"]
        self._write_physics()
        theirs = vars(self.unwrapped)
        theirs.update(state["kept"])
        mujoco().mj_copyData(theirs["data"], theirs["model"], state["data"])

    def _load(self, render_mode: str | None) -> None:
        self.imported()
        _check_display(render_mode)
        with unheard():
            super().__init__(render_mode)
        theirs: Any = self.unwrapped
        self._compiled, self._in_force = CompiledModel(theirs.model, theirs.fullpath), self.physics
        self._write_physics()

    def _write_physics(self) -> None:
        super()._write_physics()
        moved = [name for name in self.physics.names() if getattr(self, name) != getattr(self._in_force, name)]
        self._compiled.move(moved, self.physics)
        self._in_force = self.physics


def _check_display(render_mode: str | None) -> None:
    """Refuse to draw where MuJoCo would end the process: it looks for a display until it is told to do without one."""
    if render_mode and sys.platform == "linux" and not any(map(os.environ.get, _SCREENS)):
        raise gym.error.Error("MuJoCo finds no display to draw with: set the environment variable MUJOCO_GL=egl")
