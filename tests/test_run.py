"""What a run leaves behind: the same numbers each time, every tag, weights, a status; nothing if it is refused."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import gymnasium as gym
import imageio_ffmpeg
import numpy as np
import pytest
import yaml

import lopgym
from lopgym.envs.show_drift import ShowDrift
from lopgym.record import read_metrics, repeatable
from lopgym.store import CheckpointError
from lopgym.studies.compose import ConfigError, from_plain
from lopgym.studies.run import Run
from lopgym.studies.video import record

SMALL: dict[str, Any] = {"tasks": 2, "steps_per_task": 400, "probe_every": 100, "mitigation": "redo"}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run of DQN on Catch, with ReDo."""
    return lopgym.run("catch_dqn", runs_dir=str(tmp_path_factory.mktemp("runs")), **SMALL)


def _metrics(run: Run) -> list[tuple[int, dict[str, float]]]:
    """Read everything but the measured costs."""
    return repeatable(run.folder.metrics)


def test_every_tag_of_a_run_is_there(run: Run) -> None:
    """The tags are those that readers of runs rely on, and steps never fall."""
    lines = _metrics(run)
    tags = {tag for _, values in lines for tag in values}
    for pattern in (
        "task/index",
        "task/return",
        "task/auc",
        "task/final",
        "task/reward_rate",
        "eval/0/return",
        "eval/1/return",
        "drift/observation_order",
        "drift/action_order",
        r"probe/effective_rank/q\.hidden1",
        r"probe/weight_norm/q\.head",
        "probe/policy_entropy/policy",
        "mitigation/redo/reset_units",
        "rollout/ep_rew_mean",
        "train/loss",
    ):
        assert any(re.fullmatch(pattern, tag) for tag in tags), pattern
    steps = [step for step, _ in lines]
    assert steps == sorted(steps)
    assert steps[-1] == 800


def test_tensorboard_reads_back_every_value(run: Run) -> None:
    """Its own loader finds each recorded tag at the same steps, the layout, the config and the figure."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: Any = EventAccumulator(str(run.path), size_guidance={"scalars": 0, "tensors": 0}).Reload()
    for tag in {tag for _, values in read_metrics(run.folder.metrics) for tag in values}:
        steps, values = run.series(tag)
        points = events.Scalars(tag)
        assert [point.step for point in points] == steps
        assert [point.value for point in points] == pytest.approx(values, rel=1e-6)
    assert "custom_scalars__config__" in events.Tags()["tensors"]
    assert "config/text_summary" in events.Tags()["tensors"]
    assert "run" in events.Tags()["images"]


def test_a_task_is_scored_once_at_its_end(run: Run) -> None:
    """`task/auc` and `task/final` have one value a task, and `final` looks at the last quarter of its episodes."""
    assert run.series("task/auc")[0] == run.series("task/final")[0] == [400, 800]
    # Catch pays once an episode of 5 steps, so that the mean reward of a step is a fifth of the mean return.
    assert run.series("task/reward_rate")[1] == pytest.approx([value / 5 for value in run.series("task/auc")[1]])
    steps, index = run.series("task/index")
    assert all(i == (step - 1) // 400 for step, i in zip(steps, index, strict=True))
    _, order = run.series("drift/observation_order")
    assert order == index


def test_a_run_is_a_function_of_its_config_and_seed(run: Run, tmp_path: Path) -> None:
    """The same config gives the same metrics to the last bit; another seed gives others."""
    again = lopgym.run("catch_dqn", runs_dir=str(tmp_path), **SMALL)
    assert _metrics(again) == _metrics(run)
    other = lopgym.run("catch_dqn", runs_dir=str(tmp_path), seed=1, **SMALL)
    assert _metrics(other) != _metrics(run)


def test_evaluation_is_invisible_to_training(run: Run, tmp_path: Path) -> None:
    """Without evaluation every other value is bitwise the same, and so are the weights."""
    quiet = lopgym.run("catch_dqn", runs_dir=str(tmp_path), evaluation={"every": 0}, **SMALL)
    ours = [(s, {t: v for t, v in values.items() if not t.startswith("eval/")}) for s, values in _metrics(run)]
    assert [line for line in ours if line[1]] == _metrics(quiet)
    for k in range(2):
        left, right = (np.load(r.folder.checkpoints / f"task-{k}.npz") for r in (run, quiet))
        with left, right:
            assert all(np.array_equal(left[name], right[name]) for name in left.files)


def test_the_run_folder_says_what_ran(run: Run) -> None:
    """Config, circumstances, status and weights are there; the config makes the same config again."""
    about = json.loads(run.folder.about.read_text())
    assert about["status"] == "finished"
    assert about["threads"] == 1
    assert {"python", "torch", "gymnasium", "stable-baselines3", "lopgym"} <= about["versions"].keys()
    plain = yaml.safe_load(run.folder.config.read_text())
    assert from_plain(plain).plain() == plain
    kept = {p.name for p in run.folder.checkpoints.iterdir() if p.is_file()}
    assert kept == {"task-0.npz", "task-1.npz", "best.npz"}
    assert run.path.parts[-3:-1] == ("catch_dqn", run.config["variant"])


def test_a_second_run_does_not_overwrite_the_first(run: Run) -> None:
    """The folder is named and what to do is said."""
    before = run.folder.metrics.read_bytes()
    with pytest.raises(FileExistsError, match="holds a run already"):
        lopgym.run("catch_dqn", runs_dir=run.config["runs_dir"], **SMALL)
    assert run.folder.metrics.read_bytes() == before


@pytest.mark.parametrize(("error", "status"), [(RuntimeError, "failed"), (KeyboardInterrupt, "interrupted")])
def test_a_run_that_ends_early_says_so(tmp_path: Path, error: type[BaseException], status: str) -> None:
    """The status says how, and the metrics so far are kept."""

    def interrupt(now: Any) -> None:
        if now.step >= 200:
            raise error("enough")

    with pytest.raises(error, match="enough"):
        lopgym.run("catch_dqn", runs_dir=str(tmp_path), on_progress=interrupt, **SMALL)
    (about,) = tmp_path.rglob("run.json")
    assert json.loads(about.read_text())["status"] == status
    assert list(read_metrics(about.with_name("metrics.jsonl")))


def test_a_config_that_cannot_run_leaves_no_folder(tmp_path: Path) -> None:
    """DQN cannot take continuous actions: said before anything is written."""
    with pytest.raises(ConfigError, match="actions"):
        lopgym.run("custom", agent="dqn", runs_dir=str(tmp_path / "r"), **{"env.id": "Pendulum-v1"})
    assert not (tmp_path / "r").exists()


def _frames(film: Path, height: int) -> Any:
    """Decode a film to (frames, H, W, 3)."""
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        "-i",
        str(film),
        "-f",
        "rawvideo",
        "-pix_fmt",
        "rgb24",
        "-",
    ]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(2 * 6, height, -1, 3)


def test_a_video_shows_the_agent(run: Run, tmp_path: Path) -> None:
    """Frames of the asked size and number come back from the file."""
    film = record(run.path, 1, tmp_path / "film.mp4", episodes=2)
    stage = ShowDrift(gym.make("lopgym/Catch-v0", render_mode="rgb_array"))
    stage.reset()
    frames = _frames(film, height=len(stage.render()) // 2 * 2)
    assert len(frames) == 2 * 6
    assert frames[0].std() > 5
    with pytest.raises(CheckpointError, match="tasks 0 to 1"):
        record(run.path, 2, tmp_path / "no.mp4")


@pytest.mark.parametrize("normalize", [{"observations": True, "rewards": True}])
def test_ppo_runs_with_statistics_that_the_protocol_clears(tmp_path: Path, normalize: dict[str, bool]) -> None:
    """VecNormalize, evaluation with frozen statistics and a cleared normaliser go together."""
    done = lopgym.run(
        "cartpole_gravity",
        runs_dir=str(tmp_path),
        tasks=2,
        steps_per_task=512,
        normalize=normalize,
        task_change={"normaliser": "clear"},
        probe_every=256,
        evaluation={"every": 256, "episodes": 2},
        **{"agent.n_epochs": 2},
    )
    assert done.series("drift/gravity")[1][0] != done.series("drift/gravity")[1][-1]
    assert len(done.series("eval/1/return")[1]) == 2


def test_a_foreign_world_can_drift(tmp_path: Path) -> None:
    """Any registered id gets the layers that own its drifting parameters."""
    drifts = {"observation_order": {"kind": "count", "period": 200}, "reward_scale": 2.0}
    done = lopgym.run(
        "custom",
        agent="dqn",
        runs_dir=str(tmp_path),
        tasks=2,
        steps_per_task=200,
        probe_every=100,
        report_every=100,
        env={"id": "Acrobot-v1", "drifts": drifts, "n_envs": 1},
    )
    assert done.series("drift/observation_order")[1] == [0, 0, 1, 1]
    assert done.series("drift/reward_scale")[1] == [2.0] * 4


def test_a_world_without_a_batch_is_trained_in_separate_copies(tmp_path: Path) -> None:
    """Two landers, one clock: it counts the steps of both, and evaluation has copies of its own."""
    pytest.importorskip("Box2D", reason='needs pip install "lopgym[box2d]"')
    drifts = {"gravity": {"kind": "cycle", "values": [10.0, 4.0], "period": 128}}
    done = lopgym.run(
        "custom",
        runs_dir=str(tmp_path),
        tasks=2,
        steps_per_task=128,
        report_every=64,
        evaluation={"every": 128, "episodes": 2},
        env={"id": "lopgym/LunarLander-v0", "n_envs": 2, "drifts": drifts},
        **{"agent.n_steps": 32},
    )
    assert done.series("drift/gravity") == ([64, 128, 192, 256], [10.0, 10.0, 4.0, 4.0])
    assert done.series("eval/1/return")[0] == [256]


def test_a_world_without_episodes_is_scored_by_its_reward_rate(tmp_path: Path) -> None:
    """Forager never ends: no returns, but a rate for each task."""
    done = lopgym.run(
        "custom",
        agent="dqn",
        runs_dir=str(tmp_path),
        tasks=2,
        steps_per_task=200,
        probe_every=200,
        report_every=100,
        evaluation={"every": 200, "episodes": 2},
        env={"id": "lopgym/Forager-v0", "n_envs": 1},
    )
    assert done.series("eval/0/return")[0] == [200, 400]  # what an episode without end paid in as many steps
    assert done.series("task/auc") == ([], [])
    assert done.series("task/reward_rate")[0] == [200, 400]
