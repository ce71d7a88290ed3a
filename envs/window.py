"""A window in which a person watches a changing world: every step as it is taken, the state of its drift below it."""

from __future__ import annotations

from typing import Any, SupportsFloat

import numpy as np

from lopgym.envs.nonstationary import NonStationary
from lopgym.envs.painting import Image, captioned, enlarge
from lopgym.envs.show_drift import drift_in_words

_LEAST = 320  # pixels that the shorter side of a scene has in a window


class Window:
    """The window of this process. There is one, pygame's: who shows a frame last is seen in it."""

    def __init__(self) -> None:
        """Open nothing yet: the first frame does, and a frame of another size does again."""
        self._clock: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy needs, which is nothing: it opens a window when it shows a frame."""
        return {"_clock": None}

    def show(self, frame: Image, *, title: str, fps: float) -> None:
        """Show a frame, shape (H, W, 3), and wait until the one before has been seen for 1 / `fps` seconds."""
        import pygame

        size = frame.shape[1], frame.shape[0]
        pygame.display.init()
        screen = pygame.display.get_surface()  # each time: whoever closes an environment can quit all of pygame
        if screen is None or screen.get_size() != size:
            screen = pygame.display.set_mode(size)
        pygame.display.set_caption(title)
        pygame.surfarray.blit_array(screen, frame.swapaxes(0, 1))
        pygame.event.pump()
        self._clock = self._clock or pygame.time.Clock()
        self._clock.tick(fps)
        pygame.display.flip()

    def close(self) -> None:
        """Close the window, if a frame was shown. Safe to call twice."""
        if self._clock is not None:
            import pygame

            pygame.display.quit()
            self._clock = None


def with_window(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of an environment that can be watched, too."""
    return metadata | {"render_modes": sorted({"human", *metadata["render_modes"]})}


class Watched(NonStationary):
    """A drift layer in render mode `human`: around a world that draws arrays, it shows every step and reset."""

    _window: Window

    def __init__(self, env: Any, **drift: Any) -> None:
        """Watch `env`, made with render mode `rgb_array`; `drift` is what `NonStationary` takes."""
        super().__init__(env, **drift)
        self.metadata = with_window(env.metadata)
        self._window = Window()

    @property
    def render_mode(self) -> str:  # type: ignore[override]  # a property in Gymnasium's wrappers, too
        """Gymnasium's name of what this does."""
        return "human"

    def step(self, action: Any) -> tuple[Any, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step, and show what came of it, below it the drift that was in force."""
        observation, reward, terminated, truncated, info = super().step(action)
        self._show(info)
        return observation, reward, terminated, truncated, info

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, and show its beginning, below it the drift that the first step will meet."""
        observation, info = super().reset(seed=seed, options=options)
        self._show(info)
        return observation, info

    def render(self) -> None:
        """Return nothing: what there is to see is in the window since the last step or reset."""

    def close(self) -> None:
        """Close the window and the world."""
        self._window.close()
        super().close()

    def _show(self, info: dict[str, Any]) -> None:
        spec = self.unwrapped.spec
        scene = enlarge(np.asarray(self.env.render()), _LEAST)
        frame = captioned(scene, drift_in_words(info))
        self._window.show(frame, title=spec.id if spec else str(self.unwrapped), fps=self.metadata["render_fps"])
