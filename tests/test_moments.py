"""Worlds on clocks that the agent moves: how they are held still, and that looking at them disturbs nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import lopgym
from lopgym.agents.vec_env import GymVecEnv
from lopgym.record import repeatable
from lopgym.studies import evaluation
from lopgym.studies.compose import from_keywords
from lopgym.studies.evaluation import play
from lopgym.studies.moments import Moment, read_moment
from lopgym.studies.run import Run
from lopgym.studies.video import record
from lopgym.studies.worlds import single_world, still_world, vector_world

ALTERNATE = {"kind": "cycle", "values": [5.0, 9.8, 20.0], "period": 1}
RISING = {"kind": "linear", "start": 5.0, "end": 15.0, "steps": 10}
# Catch ends every 5 steps: 160 steps are 32 episodes of the one copy.
SMALL: dict[str, Any] = {"tasks": 2, "steps_per_task": 160, "probe_every": 0, "agent.learning_starts": 20}
ORDER = {"observation_order": {"kind": "count", "period": 1}}
TRIGGERED: dict[str, Any] = {
    "env.drifts": ORDER,
    "env.clocks": {"observation_order": "trigger"},
    "env.trigger": {"cap": 70},
}
BY_EPISODE: dict[str, Any] = {"env.drifts": ORDER, "env.clocks": {"observation_order": "episode"}}


def _cartpole(clock: str, drift: Any, **more: Any) -> Any:
    return from_keywords(
        "cartpole_gravity", **{"env.drifts": {"gravity": drift}, "env.clocks": {"gravity": clock}, **more}
    )


def _gravities(world: Any, steps: int) -> list[list[float]]:
    """Return the gravity of every copy during each step, episodes going on."""
    actions = np.zeros(world.num_envs, dtype=np.int64)
    return [world.step(actions)[4]["drift"]["gravity"].tolist() for _ in range(steps)]


def test_what_follows_the_steps_of_an_episode_goes_on_in_a_still_world() -> None:
    """Gravity rises by 1 a step, in evaluation as in training, whatever the task."""
    config = _cartpole("step", RISING)
    world = vector_world(config, 2, **still_world(config, 3, Moment()))
    world.reset(seed=0)
    assert _gravities(world, 4) == [[5.0] * 2, [6.0] * 2, [7.0] * 2, [8.0] * 2]


def test_what_follows_the_life_is_held_beside_what_does_not() -> None:
    """Length is that of the first step of its task; gravity goes on, on its own clock."""
    length = {"kind": "cycle", "values": [0.5, 1.0], "period": 20480}
    config = _cartpole("step", RISING, **{"env.drifts.length": length})
    for task in range(3):
        still = still_world(config, task, Moment(drift={"gravity": 3.0}))
        assert still == {
            "drifts": {"gravity": config.env.plain()["drifts"]["gravity"], "length": [0.5, 1.0, 0.5][task]},
            "clocks": {"gravity": "step"},
            "trigger": None,
        }


def test_what_follows_the_trigger_is_held_as_it_was() -> None:
    """No return moves it in an evaluation, however good."""
    config = _cartpole("trigger", ALTERNATE, **{"env.trigger": {"threshold": 1.0, "window": 1}})
    world = vector_world(config, 3, **still_world(config, 0, Moment(drift={"gravity": 20.0})))
    world.reset(seed=0)
    assert _gravities(world, 40) == [[20.0] * 3] * 40


@pytest.mark.parametrize("id", ["lopgym/CartPole-v0", "CartPole-v1"])
def test_the_copies_of_an_evaluation_play_the_next_episodes(id: str) -> None:
    """Copy j is in episode 7 + j at first, in the one after when that has ended: natively and in separate copies."""
    drift = {"reward_scale": {"kind": "linear", "start": 0.0, "end": 10.0, "steps": 10}}
    clocks = {"env.drifts": drift, "env.clocks": {"reward_scale": "episode"}}
    config = from_keywords("custom", **{"env.id": id}, **clocks)
    copies = GymVecEnv(vector_world(config, 3, **still_world(config, 0, Moment())), seed=0)
    copies.reset()
    seen = evaluation._in_episodes(copies, 7)
    assert seen.shape == (3, 4)
    first = [copies.step(np.ones(3, dtype=np.int64)) for _ in range(5)][-1]
    assert [info["drift"]["reward_scale"] for info in first[3]] == [7.0, 8.0, 9.0]
    ended = np.zeros(3, dtype=bool)
    while not ended.all():
        ended |= copies.step(np.ones(3, dtype=np.int64))[2]
    later = copies.step(np.ones(3, dtype=np.int64))[3]
    assert all(info["drift"]["reward_scale"] > 7.0 + j for j, info in enumerate(later))
    copies.close()


class _Pushes:
    """A model that always pushes to the right."""

    def get_vec_normalize_env(self) -> None:
        """Have no normaliser."""

    def predict(self, observations: Any, deterministic: bool) -> tuple[Any, None]:
        """Act."""
        return np.ones(len(observations), dtype=np.int64), None


def test_an_evaluation_pays_what_its_episodes_pay() -> None:
    """With a reward scale of the number of the episode, returns are lengths times 4, 5 and 6."""
    drift = {"reward_scale": {"kind": "linear", "start": 0.0, "end": 100.0, "steps": 100}}
    plain = from_keywords("cartpole_gravity", **{"env.drifts": {}})
    scaled = from_keywords("cartpole_gravity", **{"env.drifts": drift, "env.clocks": {"reward_scale": "episode"}})
    lengths = play(_Pushes(), plain, 0, Moment(), episodes=3, seed=5)
    returns = play(_Pushes(), scaled, 0, Moment(episode=4), episodes=3, seed=5)
    assert all(8 <= length <= 11 for length in lengths)  # a pole that is pushed one way falls after about ten steps
    assert all(value / (4 + j) in range(8, 12) for j, value in enumerate(returns))
    assert returns == play(_Pushes(), scaled, 0, Moment(episode=4), episodes=3, seed=5)


@pytest.fixture(scope="module", params=[TRIGGERED, BY_EPISODE], ids=["trigger", "episode"])
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """The same training with and without evaluation."""
    watched, alone = (
        lopgym.run(
            "catch_dqn",
            runs_dir=str(tmp_path_factory.mktemp("runs")),
            evaluation={"every": every, "episodes": 3},
            **SMALL,
            **request.param,
        )
        for every in (80, 0)
    )
    return watched, alone


def test_evaluation_is_invisible_to_training(runs: tuple[Run, Run]) -> None:
    """Without it every other value is bitwise the same: no count of the training world was moved."""
    watched, alone = (repeatable(run.folder.metrics) for run in runs)
    quiet = [(s, {tag: v for tag, v in values.items() if not tag.startswith("eval/")}) for s, values in watched]
    assert [line for line in quiet if line[1]] == alone
    assert len(runs[0].series("eval/0/return")[0]) == 4


def test_the_run_folder_says_what_moved_the_world(runs: tuple[Run, Run]) -> None:
    """The config is complete, and the moments at the ends of the tasks can be read back."""
    env = yaml.safe_load(runs[0].folder.config.read_text())["env"]
    first, second = (read_moment(runs[0].folder.metrics, step) for step in (160, 320))
    if env["trigger"] is None:
        assert env["clocks"] == {"observation_order": "episode"}
        assert [(m.drift["observation_order"], m.episode) for m in (first, second)] == [(31.0, 32), (63.0, 64)]
    else:
        assert (env["clocks"], env["trigger"]["cap"]) == ({"observation_order": "trigger"}, 70)
        assert [m.drift["observation_order"] for m in (first, second)] == [2.0, 4.0]  # at 70, 140, 210 and 280


def test_evaluation_holds_the_triggered_value_in_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The current task as it is now, an earlier one as it was last; the worlds are spied upon as they are made."""
    made: list[tuple[int, float]] = []

    def spy(config: Any, task: int, moment: Moment) -> dict[str, Any]:
        still = still_world(config, task, moment)
        made.append((task, still["drifts"]["observation_order"]))
        return still

    monkeypatch.setattr(evaluation, "still_world", spy)
    lopgym.run("catch_dqn", runs_dir=str(tmp_path), evaluation={"every": 80, "episodes": 1}, **SMALL, **TRIGGERED)
    assert made == [(0, 1.0), (0, 2.0), (0, 2.0), (1, 3.0), (0, 2.0), (1, 4.0)]


def test_a_film_shows_the_world_that_was(
    runs: tuple[Run, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is made of the same moment as the evaluation, from the folder of the run alone."""
    worlds: list[Any] = []

    def spy(config: Any, **options: Any) -> Any:
        worlds.append(single_world(config, **options))
        return worlds[-1]

    monkeypatch.setattr("lopgym.studies.video.single_world", spy)
    record(runs[0].path, 1, tmp_path / "film.mp4", episodes=1)
    expected = 4.0 if runs[0].config["env"]["trigger"] else 64.0
    assert worlds[0].get_wrapper_attr("_drift") == {"observation_order": expected}
