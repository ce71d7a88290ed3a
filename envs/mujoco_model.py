"""Numbers of a compiled MuJoCo model, moved by name while it runs, and all that hangs on them."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, lru_cache
from typing import Any

from numpy.typing import NDArray

_SCALED = ("geom_friction", "dof_damping", "actuator_gear")
_SHAPE = [
    *("body_mass", "body_inertia", "body_ipos", "body_iquat"),
    *("geom_size", "geom_rbound", "geom_aabb", "bvh_aabb", "bvh_nodeid"),
    "dof_length",  # since MuJoCo 4
]
_CONSTANTS_HANG_ON = {"mass_scale", "size_scale", "gear_scale"}


def mujoco() -> Any:
    """Return the module: imported when it is needed, not when worlds are registered."""
    return importlib.import_module("mujoco")


@contextmanager
def unheard() -> Iterator[None]:
    """Do not hear what MuJoCo thinks of the models it loads: it would print it, and write it into a file right here."""
    before = mujoco().get_mju_user_warning()
    mujoco().set_mju_user_warning(lambda text: None)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "compiler attribute")
            yield
    finally:
        mujoco().set_mju_user_warning(before)


class CompiledModel:
    """A model that equals, after any number of moves, the one compiled with the physics of the last.

    Attributes:
        model: MuJoCo's `MjModel`; its numbers are overwritten.
        path: the file that it was compiled from.
        compiled: the arrays that a parameter scales, as they were compiled.
    """

    def __init__(self, model: Any, path: str) -> None:
        """Take a model that nobody has changed since it was compiled."""
        self.model, self.path = model, path
        self.compiled = {name: getattr(model, name).copy() for name in _SCALED}

    @cached_property
    def _scratch(self) -> Any:
        """Data to compute constants in, which overwrites them."""
        return mujoco().MjData(self.model)

    def move(self, names: Collection[str], physics: Any) -> None:
        """Write the parameters called `names`, as `physics` has them, and what MuJoCo derives from them."""
        for name in names:
            _WRITERS[name](self, physics)
        if not _CONSTANTS_HANG_ON.isdisjoint(names):
            mujoco().mj_setConst(self.model, self._scratch)
            self.model.stat.meaninertia = self.model.dof_M0.mean()  # the solver's unit; left alone by mj_setConst


Writer = Callable[[CompiledModel, Any], None]


def _scale(parameter: str, array: str, columns: Any = ...) -> Writer:
    """Return what multiplies some columns of an array of the model."""

    def write(of: CompiledModel, physics: Any) -> None:
        getattr(of.model, array)[columns] = of.compiled[array][columns] * getattr(physics, parameter)

    return write


def _option(name: str) -> Writer:
    """Return what sets an option of the simulation."""
    return lambda of, physics: setattr(of.model.opt, name, getattr(physics, name))


def _pull(of: CompiledModel, physics: Any) -> None:
    of.model.opt.gravity[2] = -physics.gravity


def _reshape(of: CompiledModel, physics: Any) -> None:
    """Write sizes and masses, since the masses hang on both."""
    for name, values in _shape(of.path, physics.size_scale).items():
        getattr(of.model, name)[:] = values
    of.model.body_mass *= physics.mass_scale
    of.model.body_inertia *= physics.mass_scale


_WRITERS: Mapping[str, Writer] = {
    "gravity": _pull,
    "density": _option("density"),
    "viscosity": _option("viscosity"),
    "mass_scale": _reshape,
    "size_scale": _reshape,
    "friction_scale": _scale("friction_scale", "geom_friction", (slice(None), 0)),  # not of twisting and rolling
    "damping_scale": _scale("damping_scale", "dof_damping"),
    "gear_scale": _scale("gear_scale", "actuator_gear"),
}


@lru_cache(maxsize=64)
def _shape(path: str, size_scale: float) -> Mapping[str, NDArray[Any]]:
    """Let MuJoCo compile a file with other thicknesses; return what is of another shape or weight then.

    This takes milliseconds: a size that moves at every step makes a slow world.
    """
    with unheard():
        spec = mujoco().MjSpec.from_file(path)
        for geom in spec.geoms:
            if geom.type != mujoco().mjtGeom.mjGEOM_PLANE:
                geom.size[0] *= size_scale  # the radius; what comes after it is the length
        model = spec.compile()
    return {name: getattr(model, name) for name in _SHAPE if hasattr(model, name)}
