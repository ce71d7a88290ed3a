"""What looks deeper into a run, forks, nulls and spectra: each says what it should, and no other number moves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor

import lopgym
from lopgym.agents.anatomy import anatomy_of
from lopgym.agents.looking import Looking
from lopgym.agents.null import null_of
from lopgym.agents.null_calibration import NullCalibration
from lopgym.agents.spectra import Spectra, SpectraProbe
from lopgym.probes.dead import dead_fraction
from lopgym.probes.effective_rank import effective_rank
from lopgym.probes.weight_norm import weight_norm
from lopgym.record import read_metrics, repeatable
from lopgym.seeding import derive
from lopgym.studies.run import Run
from lopgym.studies.spectra import FLOOR, MOST, SpectraFile, read_spectra, spectra_figure
from tests.training import ALGORITHMS, STEPS, TASK, build, catch, differing, everything

STUDIES: dict[str, dict[str, Any]] = {
    "catch_dqn": {"tasks": 2, "steps_per_task": 400, "probe_every": 100},
    "label_bandit_ppo": {"tasks": 2, "steps_per_task": 512, "probe_every": 256},
}
DEEP: dict[str, Any] = {
    "fork": {"every": 1, "updates": 5, "repeats": 2, "samples": 32},
    "null_calibration": {"every": 400, "networks": 2, "samples": 64},
    "spectra_every": 256,
    "variant": "deep",
}
NEW = ("probe/fork/", "probe/one_step_plasticity/", "probe/random_target_fit/", "null/")
PROBES: dict[str, Any] = {"dead": dead_fraction, "norm": weight_norm}

Written = dict[int, Mapping[str, float]]


@pytest.fixture(scope="module", params=STUDIES)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Run]:
    """A short run as it comes, and one with everything on, both with a mitigation."""
    folder, options = str(tmp_path_factory.mktemp("runs")), STUDIES[request.param]
    plain, deep = (
        lopgym.run(request.param, runs_dir=folder, mitigation="redo", **options, **more) for more in ({}, DEEP)
    )
    return plain, deep


def test_every_other_value_of_a_run_is_bitwise_the_same(pair: tuple[Run, Run]) -> None:
    """With forks, nulls and spectra: the same numbers at the same steps, and the same weights."""
    plain, deep = (repeatable(run.folder.metrics) for run in pair)
    kept = [(step, {tag: v for tag, v in values.items() if not tag.startswith(NEW)}) for step, values in deep]
    assert [line for line in kept if line[1]] == plain
    assert not any(tag.startswith(NEW) for _, values in plain for tag in values)
    for k in range(2):
        left, right = (np.load(run.folder.checkpoints / f"task-{k}.npz") for run in pair)
        with left, right:
            assert all(np.array_equal(left[name], right[name]) for name in left.files)


def test_the_new_tags_are_there(pair: tuple[Run, Run]) -> None:
    """A fork at the end of each task, nulls and spectra at their steps, costs under `time/`; steps never fall."""
    plain, run = pair
    lines = list(read_metrics(run.folder.metrics))
    steps = [step for step, _ in lines]
    assert steps == sorted(steps)
    tags = {tag for _, values in lines for tag in values}
    for start in (*NEW, "time/fork_cpu_seconds", "time/null_cpu_seconds", "time/spectra_cpu_seconds"):
        assert any(tag.startswith(start) for tag in tags), start
    task = run.config["steps_per_task"]
    assert run.series("time/fork_cpu_seconds")[0] == [task, 2 * task]
    layer = {"catch_dqn": "q.hidden1", "label_bandit_ppo": "actor.hidden1"}[run.config["study"]]
    nulls = {tag.rpartition("/")[2] for tag in tags if tag.startswith(f"null/effective_rank/{layer}/")}
    assert nulls == {"mean", "std", "percentile", "z"}
    assert [*read_spectra(run.folder.spectra)[layer]] == ["activations", "weights"]
    assert not plain.folder.spectra.exists()


def test_tensorboard_shows_the_spectra_and_the_gap(pair: tuple[Run, Run]) -> None:
    """One picture for each hidden layer, beside that of the run; and the fork's own part of the layout."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.custom_scalar import layout_pb2

    run = pair[1]
    events: Any = EventAccumulator(str(run.path), size_guidance={"images": 0}).Reload()
    layers = read_spectra(run.folder.spectra)
    assert set(events.Tags()["images"]) == {"run", *(f"spectra/{layer}" for layer in layers)}
    text = events.Tensors("custom_scalars__config__")[-1].tensor_proto.string_val[0]
    titles = [category.title for category in layout_pb2.Layout.FromString(text).category]
    assert "Is it behind a fresh network? (fork probe)" in titles


def test_it_can_be_told_again(pair: tuple[Run, Run], tmp_path: Path) -> None:
    """The same config gives the same forks, nulls and spectra to the last bit."""
    deep = pair[1]
    study = deep.config["study"]
    again = lopgym.run(study, runs_dir=str(tmp_path), mitigation="redo", **STUDIES[study], **DEEP)
    assert repeatable(again.folder.metrics) == repeatable(deep.folder.metrics)
    assert again.folder.spectra.read_bytes() == deep.folder.spectra.read_bytes()


class _Steps(Looking):
    """Notes when it looked, at which weights, and at how much data."""

    def __init__(self, every: int, written: Written) -> None:
        """Look every so many steps."""
        super().__init__("steps", every, lambda step, values: written.update({step: values}))
        self.first: dict[str, Tensor] = {}

    def look(self, step: int) -> Mapping[str, float]:
        """Note the weights of the first look."""
        self.first = self.first or {name: v.clone() for name, v in self.model.policy.state_dict().items()}
        return {"step": float(step)}


def test_the_first_look_meets_the_initial_network_and_data() -> None:
    """DQN with 40 random steps looks when they are over, then at multiples; PPO at the end of its first rollout."""
    for name, steps in (("dqn", [41, 100, 200, 300, 400]), ("ppo", [50, 100, 200, 300, 400])):
        written, model = Written(), build(name)
        before = {key: value.clone() for key, value in model.policy.state_dict().items()}
        callback = _Steps(100, written)
        model.learn(STEPS, callback=callback)
        assert [*written] == steps
        assert differing(before, callback.first) == []
        assert all(values["step"] == step and "time/steps_cpu_seconds" in values for step, values in written.items())


def test_a_look_waits_until_a_replay_is_filled_again() -> None:
    """A restart of the warm-up at step 100 puts the look of step 120 off until the agent learns again."""
    written, model = Written(), build("dqn")
    callback = _Steps(60, written)
    callback._on_step = lambda: setattr(model, "learning_starts", 40 if model.num_timesteps < 100 else 140) or True  # type: ignore[func-returns-value, method-assign]
    model.learn(200, callback=callback)
    assert [*written] == [41, 60, 141, 180]


def test_zero_never_looks() -> None:
    """And so costs nothing."""
    written = Written()
    build("dqn").learn(STEPS, callback=_Steps(0, written))
    assert written == {}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_nulls_are_those_of_null_of(name: str) -> None:
    """At the last step of training nothing has moved since: the same numbers, and z by hand where there is spread."""
    written = Written()
    model = build(name, None, catch(STEPS))
    calibration = NullCalibration(
        probes=PROBES, every=STEPS, networks=3, samples=32, write=lambda s, v: written.update({s: v}), seed=7
    )
    found: dict[str, Any] = {}
    look = calibration.look

    def both(step: int) -> Mapping[str, float]:
        found.update(null_of(model, PROBES, networks=3, samples=32, seed=derive(7, "null", step)))
        return look(step)

    calibration.look = both  # type: ignore[method-assign]
    model.learn(STEPS, callback=calibration)
    values = written[STEPS]
    assert {tag.rpartition("/")[0] for tag in values if tag.startswith("null/")} == {f"null/{tag}" for tag in found}
    for tag, one in found.items():
        assert values[f"null/{tag}/mean"] == one.mean
        assert values[f"null/{tag}/std"] == one.sd
        assert values[f"null/{tag}/percentile"] == one.percentile
        assert (f"null/{tag}/z" in values) == (one.z is not None)
        if one.z is not None:
            assert values[f"null/{tag}/z"] == pytest.approx((one.value - one.mean) / one.sd)
    assert {f"dead/{layer.name}" for layer in anatomy_of(model).layers} < found.keys()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_looks_leave_training_and_random_streams_alone(name: str) -> None:
    """Weights, moments, torch's and NumPy's streams: bit for bit."""

    def trained(looks: list[Looking]) -> dict[str, Tensor]:
        np.random.seed(0)
        model = build(name, None, catch(TASK))
        model.learn(STEPS, callback=looks)
        return everything(model) | {"numpy": torch.from_numpy(np.random.random(3))}

    looks = [
        NullCalibration(probes=PROBES, every=50, networks=2),
        SpectraProbe(every=50, keep=lambda step, spectra: None),
    ]
    assert differing(trained(looks), trained([])) == []


def test_spectra_are_those_of_numpy() -> None:
    """The weights' by its own decomposition; the activations' have the effective rank that the probe reads."""
    kept: dict[int, Spectra] = {}
    model = build("dqn")
    weights: dict[str, Any] = {}

    def keep(step: int, spectra: Spectra) -> None:
        kept[step] = spectra
        for layer in anatomy_of(model).layers:
            affine: Any = layer.incoming
            weights[layer.name] = np.linalg.svd(affine.weight.detach().double().numpy(), compute_uv=False)

    probe = SpectraProbe(every=STEPS, keep=keep)
    model.learn(STEPS, callback=probe)
    assert [*kept] == [41, STEPS]
    for layer, spectra in kept[STEPS].items():
        assert spectra["weights"] == pytest.approx(weights[layer], rel=1e-5, abs=1e-6)
        sigma = torch.tensor(spectra["activations"])
        assert len(sigma) == 16
        assert (sigma.diff() <= 0).all()
        share = np.array(spectra["activations"]) / sum(spectra["activations"])
        entropy = -sum(p * math.log(p) for p in share if p > 0)
        assert effective_rank({layer: sigma})[layer] == pytest.approx(math.exp(entropy), rel=1e-6)


def test_spectra_come_back_from_their_file(tmp_path: Path) -> None:
    """Six digits of each, whatever they are; what is not finite is a string in JSON; no file, no spectra."""
    path = tmp_path / "spectra.jsonl"
    assert read_spectra(path) == {}
    file = SpectraFile(path)
    file.write(5, {"q.hidden0": {"activations": [1.23456789, 0.0], "weights": [2.0]}})
    file.write(9, {"q.hidden0": {"activations": [math.nan, math.inf], "weights": [2.0]}})
    assert all(json.loads(line, parse_constant=pytest.fail) for line in path.read_text().splitlines())
    read = read_spectra(path)["q.hidden0"]
    assert read["weights"] == [(5, [2.0]), (9, [2.0])]
    assert read["activations"][0] == (5, [1.23457, 0.0])
    assert math.isnan(read["activations"][1][1][0])
    with path.open("a") as unfinished:
        unfinished.write('{"step": 12, "q.hid')
    assert read_spectra(path)["q.hidden0"]["weights"] == read["weights"]


def test_the_picture_of_spectra() -> None:
    """A line a look, the first light and the last dark, relative to the largest; dead looks are counted."""
    looks = [(step, [4.0, 2.0 / step, 1e-9]) for step in range(1, 5)] + [(5, [0.0, 0.0, 0.0])]
    figure = spectra_figure("q.hidden0", {"activations": looks, "weights": looks[:2]})
    activations, weights = figure.axes[:2]
    assert activations.get_title("left") == "activations (1 of 5 looks: dead)"
    assert weights.get_title("left") == "weights"
    assert (len(activations.lines), len(weights.lines)) == (4, 2)
    assert activations.get_yscale() == "log"
    for step, line in enumerate(activations.lines, start=1):
        assert np.asarray(line.get_xdata()).tolist() == [1, 2, 3]
        assert np.asarray(line.get_ydata())[:2].tolist() == [1.0, 0.5 / step]
        assert np.isnan(np.asarray(line.get_ydata())[2])
    light = [sum(line.get_color()[:3]) for line in activations.lines]  # type: ignore[misc]  # as RGBA
    assert light == sorted(light, reverse=True)
    assert activations.get_ylim()[0] == FLOOR


@pytest.mark.parametrize("sigma", [[3.0], [0.0, 0.0], [math.nan, math.nan]])
def test_there_is_always_a_picture(sigma: list[float]) -> None:
    """Of one look only, of a layer of one unit, one that is dead, and one that has diverged."""
    figure = spectra_figure("q.hidden0", {"activations": [(5, sigma)]})
    FigureCanvasAgg(figure).draw()
    assert len(figure.axes[0].lines) == any(sigma)


def test_many_looks_are_thinned_out() -> None:
    """Forty lines at most, evenly; the first and the last are there."""
    looks = [(step, [1.0, 1 / (1 + step)]) for step in range(500)]
    lines = spectra_figure("q.hidden0", {"activations": looks}).axes[0].lines
    assert len(lines) == MOST
    seconds = [float(np.asarray(line.get_ydata())[1]) for line in (lines[0], lines[-1])]
    assert seconds == [1.0, 1 / 500]
