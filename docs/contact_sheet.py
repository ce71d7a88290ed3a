"""Draw `images/contact_sheet.png`: a picture of every registered world, the state of its drift below it.

Run it after a world was added: `python docs/contact_sheet.py`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import DependencyNotInstalled
from matplotlib.figure import Figure

import lopgym
from lopgym.envs import environments
from lopgym.envs.show_drift import ShowDrift

SHEET = Path(__file__).parent / "images" / "contact_sheet.png"
COLUMNS, STEPS, CLOCK = 5, 12, 60_000


def picture(id: str) -> Any:
    """Return a frame of a world some steps after the start of an episode, shape (H, W, 3), None without its extra.

    Without a display, MuJoCo draws with EGL, in software if need be.
    """
    try:
        env = ShowDrift(gym.make(id, render_mode="rgb_array", disable_env_checker=True))
    except (DependencyNotInstalled, ImportError):
        return None
    env.reset(seed=1, options={"clock": CLOCK})
    env.action_space.seed(0)
    frame = env.render()
    for _ in range(STEPS):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        if terminated or truncated:
            break
        frame = env.render()
    env.close()
    return frame


def draw(pictures: dict[str, Any]) -> Figure:
    """Return all pictures on one page, in order of name."""
    rows = -(-len(pictures) // COLUMNS)
    figure = Figure(figsize=(3.0 * COLUMNS, 3.3 * rows), layout="constrained")
    for axes, (id, frame) in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, pictures.items(), strict=False):
        axes.imshow(np.asarray(frame))
        axes.set_title(id.removeprefix("lopgym/"), fontsize=11)
        axes.set_anchor("N")
    for axes in figure.axes:
        axes.axis("off")
    return figure


def main() -> int:
    """Write the sheet; name the worlds that cannot be drawn here."""
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    os.environ.setdefault("MUJOCO_GL", "egl")
    pictures = {id: picture(id) for id in sorted(f"lopgym/{entry.facts['id']}" for entry in environments)}
    if missing := [id for id, frame in pictures.items() if frame is None]:
        print(f"left out, an extra is not installed: {', '.join(missing)}", file=sys.stderr)
    draw({id: frame for id, frame in pictures.items() if frame is not None}).savefig(SHEET, dpi=80)
    print(f"docs/{SHEET.relative_to(SHEET.parents[1])} written by lopgym {lopgym.__version__}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
