"""Box2D's worlds as Gymnasium has them: constants that drift in one of them alone, and copies by doing it all again."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from types import FunctionType, MethodType
from typing import Any, SupportsFloat

import gymnasium as gym

from lopgym.envs.borrowed import Borrowed
from lopgym.physics import Physics

RENDERED: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 50}
_ALSO_COPIED = ("_np_random", "_np_random_seed", "spec")


class Box2DBody(Borrowed):
    """One of Gymnasium's Box2D environments, bit for bit as long as nothing has moved.

    Box2D's objects can be neither copied nor pickled. A copy, by `copy.deepcopy` or `pickle`, is made anew and lives
    through the running episode again, from the same luck, by the same actions and under the same physics. So it goes
    on exactly as the original, and takes as long as the episode took so far, whose actions are kept for this. Only the
    sparks of engines, which are drawn and no more, are lost.
    """

    extra = "box2d"
    metadata = RENDERED

    def __init__(self, render_mode: str | None = None, **options: Any) -> None:
        """Make the environment, `options` being its own.

        Raises:
            gymnasium.error.DependencyNotInstalled: Box2D is not installed.
        """
        self._make(render_mode, options)

    def _make(self, render_mode: str | None, options: Mapping[str, Any]) -> None:
        super().__init__(render_mode, **options)
        self._options = dict(options)
        self._began: tuple[Physics, Any] | None = None  # physics and generator with which the running episode began
        self._since: list[tuple[Physics, Any]] = []  # physics and action of every step since
        self._write_physics()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        gym.Env.reset(self.unwrapped, seed=seed)  # seeds, and no more
        self._began = self.physics, copy.deepcopy(self.unwrapped.np_random)
        self._since = []
        return self.env.reset(options=options)

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Take one step."""
        said = self.env.step(action)
        self._since.append((self.physics, copy.copy(action)))
        return said

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs to come here."""
        names = ("_options", "_began", "_since", "physics", "render_mode")
        theirs = {name: getattr(self.unwrapped, name) for name in _ALSO_COPIED}
        return {name: getattr(self, name) for name in names} | {"theirs": theirs}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Live through the running episode again, unseen."""
        self._make(state["render_mode"], state["_options"])
        theirs: Any = self.unwrapped
        if state["_began"] is not None:
            theirs.render_mode = None
            self._be(state["_began"][0])
            theirs.np_random = copy.deepcopy(state["_began"][1])
            self.reset()
            for physics, action in state["_since"]:
                self._be(physics)
                self.step(action)
            theirs.render_mode = state["render_mode"]
        self._be(state["physics"])
        vars(theirs).update(state["theirs"])

    def _be(self, physics: Physics) -> None:
        if physics is not self.physics:
            self.physics = physics
            self._write_physics()

    def _bind(self, method: str, **constants: float) -> None:
        """Let a method of Gymnasium's environment, of this one only, read other constants than its module has."""
        theirs = self.unwrapped
        function = getattr(type(theirs), method)
        own = FunctionType(
            function.__code__,
            {**function.__globals__, **constants},
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        own.__kwdefaults__ = function.__kwdefaults__
        setattr(theirs, method, MethodType(own, theirs))


def rub(world: Any, bodies: Iterable[Any], friction: float) -> None:
    """Give all surfaces of some bodies of a world this friction, in contacts that they have already, too."""
    for body in bodies:
        for fixture in body.fixtures:
            fixture.friction = friction
    for contact in world.contacts:
        contact.ResetFriction()
