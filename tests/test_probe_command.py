"""`lopgym probe`: what it reads, what it measures beside fresh networks, what it says, and what it refuses."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import asdict
from html import escape
from pathlib import Path
from shutil import copytree
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3 import DQN, PPO
from torch import nn
from typer.testing import CliRunner, Result

from lopgym.agents.anatomy import anatomy_of
from lopgym.agents.stand_in import as_its_own
from lopgym.probes import probes
from lopgym.probes.captures import Captures
from lopgym.probes.null import Null, null
from lopgym.record import RunFolder, series
from lopgym.studies import cadence, cli
from lopgym.studies.cadence import SHARE, Cadence
from lopgym.studies.collecting import collect
from lopgym.studies.compose import from_keywords
from lopgym.studies.findings import RULES, Rule, findings
from lopgym.studies.probe_figures import beside_fresh
from lopgym.studies.probing import Look, look
from lopgym.studies.revival import freed_by_revival, no_gradient_units
from lopgym.studies.run import execute
from lopgym.studies.subjects import open_subject

SMALL: dict[str, Any] = {"tasks": 2, "steps_per_task": 160, "agent.learning_starts": 20, "evaluation.every": 0}
CARTPOLE = ("--env", "CartPole-v1")
TRUST = "--i-trust-this-file"


def _run(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["probe", *map(str, words)])


def _refused(*words: str | Path, code: int) -> str:
    """Run what must fail, and return the one line that says why."""
    result = _run(*words)
    lines = result.stderr.splitlines()
    assert (result.exit_code, len(lines)) == (code, 1), result.output
    assert not result.stdout
    return lines[0]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a tiny run of DQN whose world changes once."""
    config = from_keywords("catch_dqn", runs_dir=str(tmp_path_factory.mktemp("runs")), probes="none", **SMALL)
    return execute(config).path


@pytest.fixture(scope="module")
def seen(run: Path) -> Look:
    """Return a look at its last checkpoint."""
    return look(open_subject(run), fresh=2)


@pytest.fixture(scope="module")
def zipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a zip of a stock PPO that has learned nothing."""
    path = tmp_path_factory.mktemp("zips") / "ppo.zip"
    PPO("MlpPolicy", "CartPole-v1", n_steps=64, seed=3, device="cpu").save(path)
    return path


@pytest.fixture
def spoiled(run: Path, tmp_path: Path) -> Path:
    """Return a copy of the run that a test may spoil."""
    return copytree(run, tmp_path / "run")


@pytest.fixture(scope="module")
def told(run: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, dict[str, Any]]:
    """Return what the command prints, its page and its numbers."""
    said = tmp_path_factory.mktemp("json") / "all.json"
    result = _run(run, "--task", "0", "--fresh", "2", "--json", said)
    assert result.exit_code == 0, result.output
    page = run / "probe-task-0.html"
    assert result.stdout.splitlines()[-2:] == [f"every number: {said}", f"look at it: {page}"]
    return result.stdout, page, json.loads(said.read_text())


def test_the_command_prints_and_writes_everything(told: tuple[str, Path, dict[str, Any]]) -> None:
    """A table a layer, the findings, a page in the run, and JSON where it was asked for."""
    printed, page, plain = told
    assert plain["layers"] == {"q.hidden0": 32, "q.hidden1": 32}
    assert plain["name"].startswith("catch_dqn / none--")
    assert plain["name"].endswith(" / seed 0, task 0")
    for place in ("q.hidden0, 32 units", "q.hidden1, 32 units", "q.head", "policy"):
        assert re.search(rf"^{re.escape(place)} +value +fresh", printed, re.MULTILINE)
    assert plain["findings"], "distances and norms of a trained network are beyond two fresh ones"
    for found in plain["findings"]:
        assert f"- {found['sentence']}" in printed
        assert found["sentence"] in page.read_text()


def test_the_page_needs_nothing_else(told: tuple[str, Path, dict[str, Any]]) -> None:
    """No script, no link, no image of elsewhere; what its figures refer to is in it, once."""
    html = told[1].read_text()
    assert html.count("<svg") == html.count("</svg>") == 4
    assert not re.search(r"<script|<link|<img|src=|@import|href=\"(?!#)", html)
    referred = {*re.findall(r"url\(#([^)]+)\)", html), *re.findall(r"href=\"#([^\"]+)\"", html)}
    assert referred
    assert {name: html.count(f'id="{name}"') for name in referred} == dict.fromkeys(referred, 1)
    text = re.sub(r"<style.*?</style>|<svg.*?</svg>", "", html, flags=re.DOTALL)
    assert [word for word in (">nan<", ">inf<", "None", "{") if word in text] == []


def test_the_page_says_what_each_number_is(told: tuple[str, Path, dict[str, Any]]) -> None:
    """Every name in its tables carries the first line of what the probe says of itself."""
    carried = dict(re.findall(r'<td title="([^"]*)">(\w+)</td>', told[1].read_text()))
    meanings = {name: meaning for meaning, name in carried.items()}
    assert meanings.keys() == {tag.partition("/")[0] for tag in told[2]["readings"]}
    assert meanings["dead_fraction"] == escape(probes["dead_fraction"].summary)
    assert meanings["no_gradient_units"].startswith("Share of a hidden layer's units".replace("'", "&#x27;"))


def test_shares_are_drawn_from_none_to_all(seen: Look) -> None:
    """Three clones in a hundred must not look like many; what is no share has the axis that it needs."""
    figure = beside_fresh(seen, RULES)
    drawn = [axes for axes in figure.axes if axes.get_visible()]
    assert len(drawn) == len(RULES)
    for axes, rule in zip(drawn, RULES, strict=True):
        assert (axes.get_xlim() == (-0.04, 1.04)) is rule.share
    assert {rule.probe for rule in RULES if not rule.share} == {
        "effective_rank",
        "ntk_rank",
        "weight_norm",
        "policy_entropy",
    }


def test_every_probe_is_measured_or_said_to_be_skipped(seen: Look) -> None:
    """Nothing is lost on the way, and a value stands where its null stands."""
    measured = {tag.partition("/")[0] for tag in seen.readings}
    assert measured | seen.skipped.keys() == {entry.name for entry in probes} | {
        "no_gradient_units",
        "freed_by_revival",
    }
    assert not measured & seen.skipped.keys()
    assert all(why.startswith("there are no previous") for why in seen.skipped.values()), seen.skipped
    assert len(seen.strangers) == 2


def test_values_are_those_of_the_checkpoint(run: Path, seen: Look) -> None:
    """Worked out again from the arrays in the file; a fresh network is where it started."""
    with np.load(RunFolder(run).checkpoints / "task-1.npz") as arrays:
        head = [arrays[name] for name in ("q_net.q_net.0.weight", "q_net.q_net.0.bias")]
    norm = np.sqrt(sum((array.astype(np.float64) ** 2).sum() for array in head))
    assert seen.readings["weight_norm/q.head"].value == pytest.approx(norm, rel=1e-12)
    moved = seen.readings["distance_from_init/q.hidden0"]
    assert moved.value > 0
    assert (moved.mean, moved.sd, moved.percentile) == (0.0, 0.0, 100.0)


def test_looking_is_a_function_of_the_seed(run: Path, seen: Look) -> None:
    """The same numbers again, whatever was drawn in between."""
    torch.rand(3)
    np.random.rand(3)
    again = look(open_subject(RunFolder(run).checkpoints / "task-1.npz"), fresh=2)
    assert json.dumps(again.plain()) == json.dumps(seen.plain())


@pytest.mark.parametrize("task", [0, 1])
def test_the_agent_is_put_into_the_world_of_its_task(run: Path, task: int) -> None:
    """What drifts is as the run recorded it at the end of that task, and stays there."""
    model = open_subject(run, task=task).model
    collect(model, 400, seed=1)
    _, _, _, infos = model.env.step(np.zeros(model.n_envs, dtype=np.int64))
    steps, orders = series(RunFolder(run).metrics, "drift/observation_order")
    assert infos[0]["drift"]["observation_order"] == orders[steps.index(160 * (task + 1))] == task


def test_nothing_is_learned(run: Path) -> None:
    """Not a weight of network or target is another after a look, and no gradient is left."""
    subject = open_subject(run)
    before = {name: tensor.clone() for name, tensor in subject.model.policy.state_dict().items()}
    look(subject, fresh=2)
    for name, tensor in subject.model.policy.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(parameter.grad is None for parameter in subject.model.policy.parameters())


def test_a_fresh_agent_has_nothing_to_be_said(zipped: Path, tmp_path: Path) -> None:
    """The findings of a zip that has learned nothing are none; its start of training nobody knows."""
    page, said = tmp_path / "page.html", tmp_path / "all.json"
    result = _run(zipped, *CARTPOLE, TRUST, "--fresh", "5", "--html", page, "--json", said)
    assert result.exit_code == 0, result.output
    plain = json.loads(said.read_text())
    assert plain["findings"] == []
    assert "Nothing: " in result.stdout
    assert {"distance_from_init", "wasserstein_from_init"} <= plain["skipped"].keys()
    assert page.read_text().count("<svg") == 3  # no run, no history


def test_a_zip_of_dqn_is_told_from_one_of_ppo(tmp_path: Path) -> None:
    """By its data alone, before anything is unpickled."""
    DQN("MlpPolicy", "CartPole-v1", buffer_size=300, device="cpu").save(tmp_path / "dqn.zip")
    subject = open_subject(tmp_path / "dqn.zip", env="CartPole-v1", trusted=True)
    assert isinstance(subject.model, DQN)
    collect(subject.model, 1000, seed=0)
    assert subject.model.replay_buffer is not None
    assert subject.model.replay_buffer.size() == 300 // subject.model.n_envs


def test_a_rollout_becomes_the_fresh_networks_own(zipped: Path) -> None:
    """Inside, the ratio of every action is 1; outside, the rollout is the agent's again."""
    model = open_subject(zipped, env="CartPole-v1", trusted=True).model
    collect(model, 64, seed=0)
    held, buffer = model.rollout_buffer.log_probs, model.rollout_buffer
    with torch.no_grad():
        model.policy.action_net.weight += torch.randn_like(model.policy.action_net.weight)
    seen, actions = torch.as_tensor(buffer.observations).flatten(0, 1), torch.as_tensor(buffer.actions).flatten()
    with as_its_own(model), torch.no_grad():
        _, now, _ = model.policy.evaluate_actions(seen, actions)
        assert torch.equal(now, torch.as_tensor(buffer.log_probs).flatten())
        assert not np.allclose(buffer.log_probs, held)
    assert buffer.log_probs is held


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        ((), "say what to look into", 2),
        (("nowhere",), "nowhere: does not exist", 3),
        (("nowhere", "--calibrate", "catch_dqn"), "say what to look into", 2),
        (("--calibrate", "catch_dqm"), "did you mean 'catch_dqn'?", 2),
        (("{run}", "--task", "7"), "has no weights of task 7; it has those of tasks 0 to 1", 3),
        (("{run}/checkpoints",), "is not a run folder", 3),
        (("{run}/metrics.jsonl",), "is not in a run folder", 3),
        (("{run}/checkpoints/task-1.npz", "--task", "0"), "is of task 1", 2),
        (("{run}", "--env", "CartPole-v1"), "a run knows its world", 2),
        (("{run}", "--json", "no/where.json"), "there is no folder", 4),
        (("{zip}",), "--i-trust-this-file", 2),
        (("{zip}", TRUST), "--env ID", 2),
        (("{zip}", TRUST, *CARTPOLE, "--task", "0"), "a zip knows no tasks", 2),
        (("{zip}", TRUST, "--env", "CartPoel-v1"), "doesn't exist", 2),
        (("{zip}", TRUST, "--env", "Pendulum-v1"), "Observation spaces do not match", 3),
    ],
)
def test_what_cannot_be_looked_into_is_told(
    run: Path, zipped: Path, words: tuple[str, ...], said: str, code: int
) -> None:
    """One line, and a code that says whose turn it is."""
    assert said in _refused(*(word.format(run=run, zip=zipped) for word in words), code=code)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _scribble(path: Path) -> None:
    path.write_bytes(b"no arrays at all")


def _poison(path: Path) -> None:
    with np.load(path) as arrays:
        stored = {name: arrays[name] for name in arrays.files}
    np.savez(path, **(stored | {"q_net.q_net.0.bias": np.full(3, np.nan, np.float32)}))


def _narrow(path: Path) -> None:
    with np.load(path) as arrays:
        np.savez(path, **{name: arrays[name][:1] for name in arrays.files})


@pytest.mark.parametrize(
    ("spoil", "said", "code"),
    [
        (_cut, "is damaged", 3),
        (_scribble, "is damaged", 3),
        (_narrow, "does not fit the run's config", 3),
        (_poison, "q_net.q_net.0.bias holds numbers that are not finite", 5),
    ],
)
def test_a_spoiled_checkpoint_is_told(spoiled: Path, spoil: Callable[[Path], None], said: str, code: int) -> None:
    """Damaged, of another network, or diverged: three things to do about it."""
    spoil(spoiled / "checkpoints" / "task-1.npz")
    assert said in _refused(spoiled, code=code)


def test_a_spoiled_config_or_zip_is_told(spoiled: Path, tmp_path: Path) -> None:
    """Neither is a bug of ours."""
    (tmp_path / "bad.zip").write_bytes(b"PK but no more")
    assert "no zip of Stable-Baselines3" in _refused(tmp_path / "bad.zip", TRUST, *CARTPOLE, code=3)
    lines = (spoiled / "config.yaml").read_text().splitlines(keepends=True)
    (spoiled / "config.yaml").write_text("tasks: [")
    assert "config.yaml:2:1: " in _refused(spoiled, code=2)
    (spoiled / "config.yaml").write_text("".join(line.replace("tasks: 2", "tasks: two") for line in lines))
    assert re.search(r"config\.yaml:\d+:1: tasks: .*valid integer", _refused(spoiled, code=2))


@pytest.mark.parametrize("words", [("probe",), ("record", "--task", "1")], ids=lambda words: words[0])
def test_weights_that_are_half_of_an_agent_are_told(words: tuple[str, ...], spoiled: Path) -> None:
    """A method that keeps frozen parts of its own: looked at without them, it would be another agent."""
    injected = from_keywords("catch_dqn", mitigation="plasticity_injection", **SMALL).plain()
    (spoiled / "config.yaml").write_text(yaml.safe_dump(injected))
    result = CliRunner().invoke(cli.app, [*words, str(spoiled)])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert "plasticity_injection adds to the network what is not in its weights" in result.stderr


def _put_into(id: str, run: Path) -> None:
    """Let a run be of another world."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    kept = {name: config["env"][name] for name in ("n_envs", "world_seed", "apply", "clocks", "trigger")}
    config["env"] = {"kind": "custom", "id": id, "kwargs": {}, "drifts": {}} | kept
    (run / "config.yaml").write_text(yaml.safe_dump(config))


@pytest.mark.parametrize("words", [("probe",), ("record", "--task", "1")], ids=lambda words: words[0])
@pytest.mark.parametrize(("id", "said"), [("Gone-v0", "Gone"), ("gone_away:Gone-v0", "--allow-import")])
def test_a_world_that_is_not_here_is_told(words: tuple[str, ...], id: str, said: str, spoiled: Path) -> None:
    """As the package of a run of somebody else's may be missing."""
    _put_into(id, spoiled)
    result = CliRunner().invoke(cli.app, [*words, str(spoiled)])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1)
    assert said in result.stderr


@pytest.mark.parametrize("words", [("probe",), ("record", "--task", "1"), ("resume",)], ids=lambda words: words[0])
def test_a_strangers_run_imports_nothing(
    words: tuple[str, ...], spoiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its config names a module that is there and would act as it is imported: one line, nothing has happened."""
    (tmp_path / "evil_world.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    _put_into("evil_world:Evil-v0", spoiled)
    result = CliRunner().invoke(cli.app, [*words, str(spoiled)])
    assert (result.exit_code, result.stdout, len(result.stderr.splitlines())) == (2, "", 1), result.output
    assert "--allow-import evil_world" in result.stderr
    assert not (tmp_path / "marker").exists()


def test_a_world_of_ones_own_is_found_again(spoiled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder where one stands, as it was for training."""
    package = (
        "import gymnasium\ngymnasium.register('OnesOwn-v0', lambda: gymnasium.make('lopgym/Catch-v0', drifts={}))\n"
    )
    (tmp_path / "ones_own.py").write_text(package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    _put_into("ones_own:OnesOwn-v0", spoiled)
    result = _run(spoiled, "--fresh", "2", "--allow-import", "ones_own")
    gym.registry.pop("OnesOwn-v0")
    assert result.exit_code == 0, result.output


def test_weights_without_a_task_need_one(spoiled: Path) -> None:
    """The best weights say by their name that they are the best, not where."""
    best = spoiled / "checkpoints" / "best.npz"
    (spoiled / "checkpoints" / "task-1.npz").rename(best)
    assert "--task K" in _refused(best, code=2)
    assert open_subject(best, task=0).name.endswith("best")


class _Net(nn.Module):
    """Two hidden layers of 16 and a head of 3, some units of which were killed."""

    def __init__(self, dead: tuple[int, int]) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(8, 16), nn.Linear(16, 16), nn.Linear(16, 3)
        self.f, self.g = nn.ReLU(), nn.ReLU()
        with torch.no_grad():
            for layer, count in zip((self.one, self.two), dead, strict=True):
                layer.bias[:count] = -100.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.g(self.two(self.f(self.one(x)))))
        return y

    def captures(self, seen: torch.Tensor) -> Captures:
        """Open it to probes; the loss pulls at every output."""
        layers = {"one": (self.one, self.f), "two": (self.two, self.g)}
        return Captures(self, layers, {"head": self.head}, seen, loss=lambda x: self(x).sin().sum(1))


@pytest.mark.parametrize("dead", [(0, 0), (10, 0), (0, 12), (7, 9), (3, 16)])
def test_what_revival_frees_is_predicted(dead: tuple[int, int]) -> None:
    """Against reviving indeed: the share of parameters that gain a gradient, layer by layer."""
    torch.manual_seed(0)
    net, seen = _Net(dead), torch.randn(512, 8).abs()
    for layer in (net.one, net.two):  # live units speak on every input, so that none misses what another would hear
        nn.init.uniform_(layer.weight, 0.01, 0.3)
    before = net.captures(seen)
    predicted = before.supply("freed", freed_by_revival)
    lacking = before.supply("lacking", no_gradient_units)
    assert lacking == {"one": 1.0 if dead[1] == 16 else dead[0] / 16, "two": dead[1] / 16}
    with torch.no_grad():
        for layer in (net.one, net.two):
            layer.bias.clamp_(min=0.0)
    after = net.captures(seen).loss_gradients
    for name, gradient in before.loss_gradients.items():
        gained = ((gradient == 0) & (after[name] != 0)).double().mean().item()
        assert predicted[name] == pytest.approx(gained, abs=1e-12), name


def test_revival_knows_the_blocks_of_images_and_of_crelu() -> None:
    """A channel that is flattened is a block of columns; CReLU's halves stand one behind the other."""
    gradients = {"conv": torch.tensor([[0.0, 0.0], [1.0, 1.0]]), "head": torch.ones(1, 7)}
    gradients["head"][0, :3] = 0.0
    inputs = {"conv": torch.ones(6, 2), "head": torch.tensor([[0.0, 0, 0, 1, 1, 1, 1]])}
    of_image = freed_by_revival({"conv": torch.ones(6, 2)}, inputs, gradients, {"conv": ("head",)})
    assert of_image == {"conv": 0.5, "head": 3 / 7}
    gradients["head"] = torch.tensor([[0.0, 1, 0, 1, 1]])
    inputs["head"] = gradients["head"].clone()
    of_crelu = freed_by_revival({"conv": torch.ones(1, 4)}, inputs, gradients, {"conv": ("head",)})
    assert of_crelu == {"conv": 0.5, "head": 2 / 5}


def _reading(value: float, *fresh: float) -> Null:
    return null(value, fresh or (0.0, 0.0))


@pytest.mark.parametrize(
    ("reading", "holds"),
    [
        (_reading(0.5), True),
        (_reading(0.04), False),  # does not matter
        (_reading(0.5, 0.3, 0.6), False),  # a fresh one reads higher
        (_reading(0.5, 0.2, 0.45), False),  # one more of these could
        (_reading(0.5, 0.1, 0.12), True),
        (_reading(float("nan"), 0.1, 0.12), False),
        (_reading(0.5, float("nan"), 0.1), False),
    ],
)
def test_a_finding_is_beyond_chance_and_matters(reading: Null, holds: bool) -> None:
    """Both, on the side that is bad."""
    assert Rule("p", "t", high=True, by=0.05, sentence="").holds(reading) is holds
    assert not Rule("p", "t", high=False, by=0.05, sentence="").holds(reading)


def test_one_theme_speaks_once_in_a_place(seen: Look) -> None:
    """Dead units are told as units without a gradient, and not again; heads are not judged by their size."""
    ill = {f"{p}/q.hidden0": _reading(0.82) for p in ("no_gradient_units", "dead_fraction", "frozen_fraction")}
    ill |= {"freed_by_revival/q.hidden0": _reading(0.41), "dead_fraction/q.hidden1": _reading(0.2)}
    ill |= {f"weight_norm/{place}": _reading(9.0, 3.0, 3.0) for place in ("q.hidden1", "q.head")}
    told = findings(ill, ["q.hidden0", "q.hidden1"])
    assert [(found.probe, found.place) for found in told] == [
        ("no_gradient_units", "q.hidden0"),
        ("dead_fraction", "q.hidden1"),
        ("weight_norm", "q.hidden1"),
    ]
    assert told[0].sentence.startswith("82 % of the units of q.hidden0 receive no gradient")
    assert "free 41 % of the parameters" in told[0].sentence
    assert "3.0 times as large" in told[2].sentence


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.probe)
def test_every_rule_can_speak(rule: Rule, seen: Look) -> None:
    """Its probe is measured, on the places that it speaks of, and its sentence finds all that it names."""
    tags = [tag for tag in seen.readings if tag.startswith(f"{rule.probe}/")]
    places = [tag.partition("/")[2] for tag in tags if rule.whole or tag.partition("/")[2] in seen.layers]
    assert places
    extreme = _reading(1e9) if rule.high else _reading(0.0, 1e9, 1e9)
    told = findings({**seen.readings, **dict.fromkeys(tags, extreme)}, seen.layers, [rule])
    assert [found.place for found in told] == places
    assert all("{" not in found.sentence for found in told)


@given(look=st.floats(1e-4, 10), step=st.floats(1e-6, 1e-1))
def test_the_cadence_is_the_densest_round_one(look: float, step: float) -> None:
    """It keeps to the share, and the next denser round number would not."""
    cost = Cadence(look, step)
    every = cost.proposal
    digit, power = int(str(every)[0]), 10 ** (len(str(every)) - 1)
    assert every == digit * power
    denser = {1: power // 2, 2: power, 5: 2 * power}[digit]
    assert cost.share(every) <= SHARE
    assert denser == 0 or cost.share(denser) > SHARE


def test_calibrating_measures_and_proposes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A short training of the study itself; nothing of it stays."""
    monkeypatch.chdir(tmp_path)
    small = from_keywords("catch_dqn", probes="none", **SMALL)
    dead = from_keywords("catch_dqn", **SMALL).probes["dead_fraction"]
    chosen = small.model_copy(update={"probes": {"dead_fraction": dead}})
    monkeypatch.setattr(cadence, "from_keywords", lambda study: chosen)
    said = _run("--calibrate", "catch_dqn").stdout.splitlines()
    assert re.fullmatch(r"catch_dqn: one look costs [\d.]+ ms .* probe_every: 200 is [\d.]+ %", said[0])
    assert re.fullmatch(r"proposed: probe_every: [125]0* \([\d.]+ % of the CPU time\)", said[1])
    assert not [*tmp_path.iterdir()]
    monkeypatch.setattr(cadence, "from_keywords", lambda study: small)
    assert "nothing was measured" in _refused("--calibrate", "catch_dqn", code=2)


def test_an_anatomy_is_found_in_its_layers(seen: Look, run: Path) -> None:
    """The tables follow the network: hidden layers in order, then heads, then what is of the whole."""
    layers = [layer.name for layer in anatomy_of(open_subject(run).model).layers]
    assert seen.places[: len(layers)] == [*seen.layers] == layers
    assert set(seen.places[len(layers) :]) == {"q.head", "network", "policy"}
    assert asdict(seen.of("q.head")["weight_norm"]) == asdict(seen.readings["weight_norm/q.head"])
