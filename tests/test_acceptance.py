"""Other people's agents train on our worlds through their public interfaces, and learn what can be learned."""

from __future__ import annotations

import contextlib
import io
import runpy
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from typing import Any

import gymnasium as gym
import pytest
import yaml
from stable_baselines3 import PPO

import lopgym  # noqa: F401  # registers the ids

IDS = ("lopgym/CartPole-v0", "lopgym/Catch-v0", "lopgym/LabelBandit-v0")
CATCH = "lopgym/Catch-v0"
MARGIN = 1.0  # of the 1.6 between a random player's -0.6 and a perfect one's 1
LIBRARIES = {  # how an example is called: its file, what it needs, its options
    "cleanrl-style": ("cleanrl_style", "torch", {}),
    "sb3": ("with_sb3", "stable_baselines3", {}),
    "sb3-contrib": ("with_sb3", "sb3_contrib", {"algorithm": "sb3_contrib:QRDQN"}),
    "skrl": ("with_skrl", "skrl", {}),
    "torchrl": ("with_torchrl", "torchrl", {}),
}
HEAVY = {
    "sbx": ("with_sb3", "sbx", {"algorithm": "sbx:DQN"}),
    "tianshou": ("with_tianshou", "tianshou", {}),
    "rllib": ("with_rllib", "ray", {}),
}

# TorchRL 0.14's own classes, while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore:Creating .* inherits from WeightUpdaterBase:DeprecationWarning")

Train = Callable[..., float]


def _train(root: Path, library: str) -> Train:
    """Return `train` of the example of a library; skip the test where it is not installed."""
    example, package, options = (LIBRARIES | HEAVY)[library]
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed; examples/{example}.py says how to")
    train: Train = runpy.run_path(str(root / f"examples/{example}.py"))["train"]
    return lambda id, **given: train(id, **options, **given)


@pytest.fixture(scope="module")
def by_chance() -> float:
    """What a random player gets on Catch, per episode, without drift."""
    env = gym.make(CATCH, drifts={})
    env.action_space.seed(0)
    env.reset(seed=0)
    returns = []
    for _ in range(500):
        env.reset()
        ended, total = False, 0.0
        while not ended:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            ended, total = terminated or truncated, total + float(reward)
        returns.append(total)
    return mean(returns)


def test_a_random_player_gets_what_the_world_says(by_chance: float) -> None:
    """As in Catch's docstring: about -0.6."""
    assert by_chance == pytest.approx(-0.6, abs=0.1)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("library", LIBRARIES)
def test_it_trains(root: Path, library: str, id: str) -> None:
    """Each light library trains on each id, the default drift on: updates run, episodes end, returns are possible."""
    assert -1.0 <= _train(root, library)(id, steps=512) <= 500.0


@pytest.mark.parametrize("id", IDS)
def test_sb3_ppo_takes_the_id_as_a_string(id: str) -> None:
    """With the module's prefix SB3 needs no import of lopgym, and no environment made by hand."""
    model = PPO("MlpPolicy", f"lopgym:{id}", n_steps=64, n_epochs=1, device="cpu", seed=0).learn(128)
    assert model.num_timesteps == 128
    assert {"task", "drift", "clock"} <= model.env.buf_infos[0].keys()  # type: ignore[union-attr]  # a DummyVecEnv


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES | HEAVY)
def test_it_beats_a_random_player(root: Path, library: str, by_chance: float) -> None:
    """On Catch without drift, exploration included, by far more than half of what there is to gain."""
    assert _train(root, library)(CATCH, drifts={}) > by_chance + MARGIN


def test_the_zoo_has_settings_for_three_ids(root: Path) -> None:
    """The file that RL Baselines3 Zoo reads is YAML, for ids that exist."""
    settings: dict[str, Any] = yaml.safe_load((root / "examples/rl_zoo3.yml").read_text())
    assert len(settings) >= 3
    assert settings.keys() <= gym.registry.keys()
    assert all(one["policy"] == "MlpPolicy" for one in settings.values())


def test_the_benchmark_runs(root: Path) -> None:
    """Every contender is timed, or said to be not installed."""
    benchmark = runpy.run_path(str(root / "benchmarks/envs.py"))
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        benchmark["main"](["--rounds", "1", "--scale", "0.005"])
    lines = [line for line in printed.getvalue().splitlines() if line.startswith("  ")]
    tables = [
        benchmark["SINGLES"],
        *benchmark["RIVALS"],
        *(benchmark["batches"](copies, 1.0) for copies in (8, 64, 1024)),
    ]
    contenders = [contender for table in tables for contender in table]
    for line, contender in zip(lines, contenders, strict=True):
        assert line.startswith(f"  {contender.name} ")
        assert "not installed" in line or float(line[50:58]) > 0
        assert contender.goal is None or line.endswith(("met", "missed", "not installed"))
