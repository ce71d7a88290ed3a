"""The demo: its verdict, its numbers, its folder, the processes it runs in and the progress that it shows."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

import lopgym  # noqa: F401  registers the ids
from lopgym.studies import demo as demos
from lopgym.studies.parallel import RunsFailed, run_all
from lopgym.studies.progress import Progress, display
from lopgym.studies.verdict import Thresholds, verdict
from tests import synthetic
from tests.living import gone, reads_proc

GOOD = [0.6, 0.6, 0.6, 0.6]
RETURNS = st.floats(-1, 1)
FOUR = st.lists(RETURNS, min_size=4, max_size=4)


@pytest.mark.parametrize(
    ("none", "treated", "fresh", "said", "unsaid"),
    [
        ([0.65, 0.41, -0.07, -0.39], [0.65, 0.41, 0.40, 0.70], GOOD, "it was regained (+0.70)", "not regained"),
        ([0.65, 0.41, -0.07, -0.39], [0.65, 0.41, 0.0, 0.1], GOOD, "it was not regained (+0.10)", "it was regained"),
        ([0.65, 0.41, 0.3, 0.2], GOOD, GOOD, "No loss of plasticity shown", "lost its"),
        ([-0.5, -0.5, -0.5, -0.5], GOOD, GOOD, "did not learn at first", "lost its"),
        ([0.6, 0.3, -0.2, -0.6], GOOD, [0.6, 0.3, 0.1, 0.1], "fresh networks do not learn", "lost its"),
        ([0.6, 0.3, -0.2, float("nan")], GOOD, GOOD, "No loss of plasticity shown", "lost its"),
        ([0.6, 0.3, -0.2, -0.6], [0.6, 0.3, 0.2, float("nan")], GOOD, "not regained", "it was regained"),
        ([0.6, 0.3, -0.2, -0.6], GOOD, [0.6, 0.6, 0.6, float("nan")], "Nothing shown", "lost its"),
    ],
    ids=["regained", "not regained", "no loss", "never learned", "fresh fails", "nan", "treated nan", "fresh nan"],
)
def test_verdict_says_what_the_numbers_show(
    none: list[float], treated: list[float], fresh: list[float], said: str, unsaid: str
) -> None:
    """One case for each sentence, and for a number that is missing."""
    sentence = verdict({"none": none, "redo@14": treated, "fresh": fresh}, "redo@14")
    assert said in sentence
    assert unsaid not in sentence
    assert "\n" not in sentence


@given(FOUR, FOUR, FOUR)
def test_verdict_claims_only_beyond_the_thresholds(none: list[float], treated: list[float], fresh: list[float]) -> None:
    """Loss is claimed if and only if the gap and both learners are there; recovery only with loss and a small gap."""
    sentence = verdict({"none": none, "cure": treated, "fresh": fresh}, "cure")
    lost = fresh[3] >= 0.2 and none[0] >= 0.2 and fresh[3] - none[3] >= 0.5
    regained = lost and fresh[3] - treated[3] <= 0.2
    assert ("lost its plasticity" in sentence) == lost
    assert ("it was regained" in sentence) == regained


@given(FOUR, FOUR, RETURNS, st.floats(0, 1))
def test_verdict_never_takes_back_a_recovery_when_the_treated_does_better(
    none: list[float], fresh: list[float], end: float, more: float
) -> None:
    """Monotone in the treated variant's last quarter."""

    def regained(last: float) -> bool:
        return "it was regained" in verdict({"none": none, "cure": [*none[:3], last], "fresh": fresh}, "cure")

    assert regained(end + more) >= regained(end)


def test_thresholds_can_be_set() -> None:
    """A world with other returns brings its own."""
    quarters = {"none": [0.5, 0.4, 0.4, 0.3], "cure": [0.5] * 4, "fresh": [0.5] * 4}
    assert "No loss" in verdict(quarters, "cure")
    assert "regained" in verdict(quarters, "cure", thresholds=Thresholds(learns=0.3, lost=0.15, regained=0.05))


def test_random_return_is_that_of_a_random_player() -> None:
    """Against 4,000 episodes of the world itself: within 4 standard errors."""
    env = gym.make("lopgym/Catch-v0", drifts={})
    env.reset(seed=0)
    env.action_space.seed(0)
    returns = []
    for _ in range(4000):
        done, reward = False, 0.0
        while not done:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            done = terminated or truncated
        returns.append(float(reward))
        env.reset()
    expected = demos.random_return(5)
    error = np.sqrt((1 - expected**2) / len(returns))  # the variance of a +-1 variable with this mean
    assert abs(np.mean(returns) - expected) < 4 * error


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, demos.Outcome]:
    """Return what is read back from made-up runs."""
    runs = tmp_path_factory.mktemp("demo")
    return {variant: demos.read(synthetic.record(runs, variant), 14 * 800) for variant in demos.VARIANTS}


def test_summary_has_the_promised_keys(outcomes: dict[str, demos.Outcome]) -> None:
    """demo.json: seed, four quarters a variant, the verdict, the numbers of every task; plain JSON."""
    report = json.loads(json.dumps(demos.summary(outcomes, seed=3), allow_nan=False))
    assert report["seed"] == 3
    assert {label: len(means) for label, means in report["quarters"].items()} == {"none": 4, "redo@14": 4, "fresh": 4}
    assert {label: len(finals) for label, finals in report["tasks"].items()} == dict.fromkeys(demos.VARIANTS, 24)
    assert report["quarters"]["fresh"][0] == pytest.approx(np.mean(report["tasks"]["fresh"][:6]))
    assert "it was regained" in report["verdict"]
    assert report["probes"]["none"]["dead fraction"] == pytest.approx(0.2 + 0.65 * (1 - synthetic.health("none", 23)))


def test_summary_tells_whether_the_pair_is_one_agent_before_treatment(outcomes: dict[str, demos.Outcome]) -> None:
    """Equal to the last bit in every number up to the first step of task 14, and not only in the returns."""
    assert demos.summary(outcomes, 0)["identical_before_treatment"] is True
    none = outcomes["none"]
    step, values = none.before[-1]
    assert step == 14 * 800
    moved = {tag: float(np.nextafter(value, 1)) for tag, value in values.items() if tag.startswith("probe/")}
    before = [*none.before[:-1], (step, values | moved)]
    other = outcomes | {"none": dataclasses.replace(none, before=before)}
    assert demos.summary(other, 0)["identical_before_treatment"] is False


def test_show_prints_table_verdict_and_command(outcomes: dict[str, demos.Outcome], capsys: Any) -> None:
    """A reader sees the four quarters of each variant, the verdict, and the command, quoted for a shell."""
    report = demos.summary(outcomes, 0) | {"wall_seconds": 61.2}
    demos.show(report, Path("my demo"), Console(width=100))
    text = capsys.readouterr().out
    assert report["verdict"] in text
    assert "lopgym tensorboard 'my demo/runs'" in text
    for label, means in report["quarters"].items():
        (row,) = [line for line in text.splitlines() if f" {label} " in line and "│" in line]
        assert all(f"{mean:+.2f}" in row for mean in means)


def test_draw_writes_a_picture(outcomes: dict[str, demos.Outcome], tmp_path: Path) -> None:
    """A PNG of the size that was asked for."""
    demos.draw({label: o.finals for label, o in outcomes.items()}, 5, 0, tmp_path / "demo.png")
    header = (tmp_path / "demo.png").read_bytes()[:24]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(header[16:20]) == 1500


@pytest.mark.parametrize("left", ["demo.json", "runs/x"])
def test_a_demo_is_not_overwritten(tmp_path: Path, left: str) -> None:
    """Finished or broken off, an earlier demo stays; the line says what to do."""
    (tmp_path / left).parent.mkdir(exist_ok=True)
    (tmp_path / left).touch()
    with pytest.raises(FileExistsError, match="choose another folder with --out"):
        demos.demo(out=tmp_path)


def test_plans_differ_in_the_mitigation_alone(tmp_path: Path) -> None:
    """Common random numbers: same seed and world; the treated variant differs by ReDo from task 14."""
    plans = demos.plans(5, tmp_path)
    differing = {"mitigation", "variant"}
    rests = [{key: value for key, value in plan.items() if key not in differing} for plan in plans.values()]
    assert rests[0] == rests[1] == rests[2]
    assert plans["none"]["mitigation"] == {}
    assert plans["redo@14"]["mitigation"]["redo"]["active_from"] == 14
    assert [plan["variant"] for plan in plans.values()] == list(plans)
    assert {plan["seed"] for plan in plans.values()} == {5}


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch, root: Path) -> Any:
    """Return the module of jobs, importable by name in other processes too."""
    monkeypatch.syspath_prepend(str(root))
    from tests import parallel_jobs

    return parallel_jobs


def test_runs_side_by_side_return_their_results_in_order(jobs: Any, tmp_path: Path) -> None:
    """Two processes meet; progress bears the label given here, not the worker's."""
    heard: list[Progress] = []
    configs = {label: {"number": i, "meet": str(tmp_path)} for i, label in enumerate(("b", "a"))}
    assert list(run_all(configs, 2, heard.append, work=jobs.work).items()) == [("b", 0), ("a", 2)]
    assert sorted(now.label for now in heard) == ["a", "b"]


def test_one_that_fails_is_named_and_the_others_finish(jobs: Any) -> None:
    """An exception, a kill and a silent exit: each told in one line with its reason."""
    configs = {
        "raises": {"number": 1, "raise": True},
        "dies": {"number": 2, "die": True},
        "leaves": {"number": 3, "leave": True},
        "works": {"number": 4},
    }
    with pytest.raises(RunsFailed) as caught:
        run_all(configs, 1, work=jobs.work)
    assert caught.value.done == {"works": 8}
    assert caught.value.reasons["raises"] == "ValueError: no such thing"
    assert "killed by SIGKILL" in caught.value.reasons["dies"]
    assert "exit code 3" in caught.value.reasons["leaves"]
    assert 'raise ValueError("no such' in caught.value.tracebacks["raises"]
    assert "run 'dies' failed" in str(caught.value)
    assert "\n" not in str(caught.value)


@reads_proc
def test_ctrl_c_ends_the_workers(jobs: Any, tmp_path: Path) -> None:
    """An exception on this side, as Ctrl-C is, leaves no process behind."""

    def stop(now: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_all({"a": {"here": str(tmp_path / "pid")}}, 1, stop, work=jobs.hang)
    pid = int((tmp_path / "pid").read_text())
    assert gone([pid])


def test_no_workers_are_refused() -> None:
    """Nought processes would wait for ever."""
    with pytest.raises(ValueError, match="workers=0 must be at least 1"):
        run_all({}, 0)


def _watch(console: Console) -> None:
    with display(console, every=3600) as watch:
        for step in range(0, 1001, 100):
            for label in ("none", "fresh"):
                watch(Progress(label, step // 251, 4, step, 1000, math.nan if step == 0 else 0.5))


def test_progress_without_a_terminal_is_a_few_plain_lines() -> None:
    """The first and the last report of each run, no control characters."""
    out = io.StringIO()
    _watch(Console(file=out, force_terminal=False, width=120))
    lines = out.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("none: task 1/4, return -, step 0 of 1,000")
    assert lines[3].startswith("fresh: task 4/4, return +0.50, step 1,000 of 1,000")
    assert "\x1b" not in out.getvalue()


def test_rows_stand_in_the_order_of_their_labels() -> None:
    """Before the first report, too, which comes in whatever order; and short of the right margin, for `^C`."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=90, color_system=None)
    with display(console, labels=("none", "fresh")) as watch:
        watch(Progress("fresh", 0, 4, 100, 1000, 0.5))
    rows = out.getvalue().splitlines()[-3:-1]
    assert [name in row for name, row in zip(("none", "fresh"), rows, strict=True)] == [True, True]
    assert max(len(re.sub("\x1b[^a-zA-Z]*[a-zA-Z]|\r", "", row)) for row in rows) <= 87


def test_progress_on_a_terminal_has_a_row_for_each_run() -> None:
    """Both labels, the task and the return are on the last screen."""
    out = io.StringIO()
    _watch(Console(file=out, force_terminal=True, width=120, color_system=None))
    last = out.getvalue().splitlines()[-3:-1]  # then comes the cursor
    assert all(
        word in row for row, name in zip(last, ("none", "fresh"), strict=True) for word in (name, "4/4", "+0.50")
    )


def test_a_second_demo_finds_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without --out: demo, demo-2, demo-3; a named folder with a demo in it is refused."""
    monkeypatch.chdir(tmp_path)
    folders = [demos._new_folder(None) for _ in range(3)]
    assert [str(folder) for folder in folders] == ["demo", "demo-2", "demo-3"]
    (folders[0] / "runs").mkdir()
    with pytest.raises(FileExistsError, match="choose another folder"):
        demos._new_folder(folders[0])
