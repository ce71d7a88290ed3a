"""Agents that leave and come: an export is the agent bit for bit and needs no lopgym; what runs code stays out."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import time
import zipfile
from base64 import b64encode
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from shutil import copytree
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from stable_baselines3 import A2C, DQN, PPO
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import nn
from typer.testing import CliRunner, Result

from lopgym import store
from lopgym.agents.mitigations import mitigations
from lopgym.agents.stock import become_stock
from lopgym.studies import cli
from lopgym.studies.compose import Config, from_keywords
from lopgym.studies.config import entries
from lopgym.studies.exporting import Export, export, named_in
from lopgym.studies.foreign_zip import _algorithm, _own_options
from lopgym.studies.importing import import_sb3, is_imported, open_imported
from lopgym.studies.probing import look
from lopgym.studies.run import execute
from lopgym.studies.subjects import Subject, open_subject
from tests.training import ALGORITHMS, build, cartpole

Arrays = dict[str, np.ndarray[Any, Any]]

STUDIES: dict[str, dict[str, Any]] = {
    "dqn": {"study": "catch_dqn", "tasks": 2, "steps_per_task": 60, "agent.learning_starts": 20},
    "ppo": {
        "study": "cartpole_gravity",
        "tasks": 2,
        "steps_per_task": 64,
        "agent.n_steps": 32,
        "agent.batch_size": 32,
        "env.n_envs": 2,
    },
}
CASES = [f"{name}{how}" for name in STUDIES for how in ("", "-normalised")]
LOADERS: dict[str, Any] = {"dqn": DQN, "ppo": PPO}
TRUST, CARTPOLE = "--i-trust-this-file", ("--env", "CartPole-v1")

ELSEWHERE = """
import sys
sys.modules["lopgym"] = None  # as where it was never installed
import json, numpy as np, torch
from stable_baselines3 import DQN, PPO
for case in json.load(sys.stdin):
    model = {"dqn": DQN, "ppo": PPO}[case["kind"]].load(case["zip"], device="cpu")
    seen = np.load(case["seen"])
    if case["normaliser"]:
        with np.load(case["normaliser"]) as s:
            seen = np.clip((seen - s["mean"]) / np.sqrt(s["var"] + s["epsilon"]), -s["clip"], s["clip"])
            seen = seen.astype(np.float32)
    actions, _ = model.predict(seen, deterministic=True)
    with torch.no_grad():
        tensor = torch.as_tensor(seen)
        values = model.q_net(tensor) if case["kind"] == "dqn" else model.policy.predict_values(tensor)
    np.savez(case["out"], actions=actions, values=values.numpy())
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a tiny run of each algorithm, with running statistics and without."""
    folder = tmp_path_factory.mktemp("runs")
    return {case: _run(case[:3], folder / case, normalised=case.endswith("-normalised")) for case in CASES}


@cache
def _config(kind: str) -> Config:
    """Return the config of a tiny run: composing it takes longer than some of them do."""
    return from_keywords(probes="none", **STUDIES[kind], **{"evaluation.every": 0})


def _run(kind: str, folder: Path, normalised: bool = False, **more: Any) -> Path:
    config = _config(kind)
    normalize = config.normalize.model_copy(update={"observations": normalised, "rewards": normalised})
    return execute(config.model_copy(update={"runs_dir": folder, "normalize": normalize, **more})).path


def _treated(method: str) -> dict[str, Any]:
    return {"mitigation": {method: entries("mitigation")[method]()}}


@pytest.fixture(scope="module")
def exports(runs: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Export]:
    """Return an export of each of them."""
    folder = tmp_path_factory.mktemp("exports")
    return {case: export(run, out=folder / case) for case, run in runs.items()}


@pytest.fixture
def stock(tmp_path: Path) -> Path:
    """Return a zip of a stock PPO that has learned nothing."""
    PPO("MlpPolicy", "CartPole-v1", n_steps=64, seed=3, device="cpu").save(tmp_path / "ppo.zip")
    return tmp_path / "ppo.zip"


def _command(*words: str | Path) -> Result:
    return CliRunner().invoke(cli.app, [*map(str, words)])


def _refused(*words: str | Path, code: int) -> str:
    """Run what must fail, and return the one line that says why."""
    result = _command(*words)
    lines = result.stderr.splitlines()
    assert (result.exit_code, len(lines), result.stdout) == (code, 1, ""), result.output
    return lines[0]


def _observations(space: Any, count: int = 100) -> np.ndarray[Any, Any]:
    shape = (count, *space.shape)
    return np.random.default_rng(0).normal(size=shape).astype(space.dtype)


def _answers(model: Any, seen: np.ndarray[Any, Any]) -> Arrays:
    """Return what an agent does, and what its network says, of observations as the world shows them."""
    normalizer = model.get_vec_normalize_env()
    seen = seen if normalizer is None else normalizer.normalize_obs(seen)
    with torch.no_grad():
        tensor = torch.as_tensor(seen)
        values = model.q_net(tensor) if isinstance(model, DQN) else model.policy.predict_values(tensor)
    return {"actions": model.predict(seen, deterministic=True)[0], "values": values.numpy()}


def _same(here: Mapping[str, Any], there: Mapping[str, Any]) -> None:
    assert {*here} == {*there}
    for name, array in here.items():
        assert (array.dtype, array.tobytes()) == (there[name].dtype, there[name].tobytes()), name


@pytest.mark.parametrize("case", CASES)
def test_an_export_answers_alike(case: str, runs: Mapping[str, Path], exports: Mapping[str, Export]) -> None:
    """Actions and values of 100 observations, bitwise those of the run's agent."""
    agent, model = (
        open_subject(runs[case]).model,
        LOADERS[case[:3]].load(exports[case].path / "model.zip", device="cpu"),
    )
    seen = _observations(agent.observation_space)
    expected, normalizer = _answers(agent, seen), agent.get_vec_normalize_env()
    assert len(np.unique(expected["values"])) > 50, "answers that are all alike would compare nothing"
    _same(expected, _answers(model, seen if normalizer is None else normalizer.normalize_obs(seen)))


@pytest.mark.slow
def test_an_export_answers_alike_where_lopgym_is_not(
    runs: Mapping[str, Path], exports: Mapping[str, Export], tmp_path: Path
) -> None:
    """In a process that cannot import it, with statistics read and used as the docs say."""
    asked, expected = [], {}
    for case, made in exports.items():
        model = open_subject(runs[case]).model
        seen = _observations(model.observation_space)
        expected[case] = _answers(model, seen)
        np.save(tmp_path / f"{case}.npy", seen)
        normaliser = made.path / "normaliser.npz"
        assert normaliser.exists() is case.endswith("-normalised")
        files = {"zip": made.path / "model.zip", "seen": tmp_path / f"{case}.npy", "out": tmp_path / f"{case}.npz"}
        asked.append(
            {name: str(path) for name, path in files.items()}
            | {"kind": case[:3], "normaliser": str(normaliser) if normaliser.exists() else ""}
        )
    subprocess.run([sys.executable, "-c", ELSEWHERE], input=json.dumps(asked), text=True, timeout=300, check=True)
    for case, answers in expected.items():
        with np.load(tmp_path / f"{case}.npz") as there:
            _same(answers, dict(there))


@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_the_run(case: str, runs: Mapping[str, Path], exports: Mapping[str, Export]) -> None:
    """Read without unpickling, number by number those kept at the end of the last task; the zip's are the same."""
    found, about = torch.load(exports[case].path / "weights.pt", weights_only=True), exports[case].about
    with np.load(runs[case] / "checkpoints" / "task-1.npz") as arrays:
        for name, tensor in found.items():
            assert tensor.numpy().tobytes() == arrays[about["names"].get(name, name)].tobytes(), name
        copies = {name.replace("pi_features_extractor", "features_extractor") for name in about["names"].values()}
        kept = {name for name in arrays.files if not name.startswith("normaliser/")}
        assert kept <= {*found, *about["names"].values(), *copies}, "nothing is left behind"
    loaded = LOADERS[case[:3]].load(exports[case].path / "model.zip", device="cpu").policy.state_dict()
    _same({n: t.numpy() for n, t in found.items()}, {n: t.numpy() for n, t in loaded.items()})


@pytest.mark.parametrize("case", CASES)
def test_the_optimizer_goes_along(case: str, runs: Mapping[str, Path], exports: Mapping[str, Export]) -> None:
    """What it remembers of each parameter is what the checkpoint holds, whatever order the parameters are in."""
    saved, skipped = store.newest(runs[case] / "checkpoints")
    assert saved is not None
    assert not skipped
    kept = saved.tree["parts"]["agent"]["optimizer"]
    ours = open_subject(runs[case]).model.policy
    names = {id(one): name for name, one in ours.named_parameters(remove_duplicate=False)}
    order = [names[id(one)] for one in ours.optimizer.param_groups[0]["params"]]
    model = LOADERS[case[:3]].load(exports[case].path / "model.zip", device="cpu")
    theirs, renamed = dict(model.policy.named_parameters()), exports[case].about["names"]
    assert len(kept["state"]) == len(model.policy.optimizer.state) > 0
    for name, parameter in theirs.items():
        if parameter in model.policy.optimizer.state:
            there = kept["state"][order.index(renamed.get(name, name))]
            here = model.policy.optimizer.state[parameter]
            for memory, value in here.items():
                assert value.numpy().tobytes() == there[memory]["tensor"].tobytes(), (name, memory)
    assert model.policy.optimizer.param_groups[0]["eps"] == kept["param_groups"][0]["eps"]


def test_an_export_says_what_it_is(exports: Mapping[str, Export]) -> None:
    """Checksums, origin, what is needed and what is not in it."""
    for case, made in exports.items():
        about = json.loads((made.path / "export.json").read_text())
        assert about == made.about
        assert about.keys() > {"versions", "study", "variant", "world", "from", "classes"}
        assert {*about["files"]} == {path.name for path in made.path.iterdir()} - {"export.json"}
        for name, facts in about["files"].items():
            data = (made.path / name).read_bytes()
            assert facts == {"bytes": len(data), "sha256": sha256(data).hexdigest()}
        assert about["needs"] == ["gymnasium", "numpy", "stable_baselines3", "torch"]
        assert (about["seed"], about["task"], about["network"]) == (0, 1, "stock")
        assert ("the replay buffer" in about["left_out"]) is case.startswith("dqn")
        assert ("the statistics of rewards" in about["left_out"]) is case.endswith("-normalised")
        assert "what the optimizer remembers" not in about["left_out"]


def test_a_task_or_a_step_is_chosen(runs: Mapping[str, Path], tmp_path: Path) -> None:
    """Weights of that task; of that checkpoint; and by default the newest that can be read, saying what could not."""
    run = copytree(runs["dqn"], tmp_path / "run")
    first, last = (np.load(run / "checkpoints" / f"task-{task}.npz")["q_net.q_net.0.weight"] for task in (0, 1))

    def head(*words: str) -> Any:
        out = tmp_path / f"out{len([*tmp_path.iterdir()])}"
        result = _command("export", run, "--out", out, *words)
        assert result.exit_code == 0, result.output
        assert result.stdout.splitlines()[0] == str(out)
        return torch.load(out / "weights.pt", weights_only=True)["q_net.q_net.4.weight"].numpy()

    assert not np.array_equal(first, last)
    for words, expected in {("--task", "0"): first, ("--step", "60"): first, ("--task", "1"): last, (): last}.items():
        assert np.array_equal(head(*words), expected), words
    newest = run / "checkpoints" / "ckpt-000000000120"
    (newest / "arrays.npz").write_bytes((newest / "arrays.npz").read_bytes()[:-1])
    assert np.array_equal(head(), first)
    by_default = _command("export", run, "--task", "1")
    assert by_default.stdout.splitlines()[0] == str(run / "export-task-1")
    assert "what the optimizer remembers" in by_default.stdout, "the weights of a task are without it"


@pytest.mark.parametrize("kind", ["dqn", pytest.param("ppo", marks=pytest.mark.slow)])
def test_a_network_of_ours_is_said_to_need_us(kind: str, tmp_path: Path) -> None:
    """Layers that no stock policy has: the zip names classes of lopgym, and here it answers as the agent does."""
    run = _run(kind, tmp_path, **_treated("layer_norm"))
    made = export(run)
    assert (made.about["network"], made.about["names"]) == ("lopgym's", {})
    assert "lopgym" in made.about["needs"]
    assert "lopgym.agents.network.Trunk" in made.about["classes"]
    model = open_subject(run).model
    seen = _observations(model.observation_space)
    _same(_answers(model, seen), _answers(LOADERS[kind].load(made.path / "model.zip", device="cpu"), seen))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ALGORITHMS)
@pytest.mark.parametrize("method", [e.name for e in mitigations if not e.facts.get("beyond_weights")])
def test_every_method_can_be_exported(method: str, kind: str, tmp_path: Path) -> None:
    """Answers are those of the agent; a zip that is said to be stock names nothing of ours, any other one does."""
    model = build(kind, {method: mitigations.build(method)}, cartpole())
    seen = _observations(model.observation_space)
    before, told = _answers(model, seen), become_stock(model)
    model.save(tmp_path / "model.zip")
    ours = {name for name in named_in((tmp_path / "model.zip").read_bytes()) if name.startswith("lopgym.")}
    assert bool(ours) is (told is None), ours
    _same(before, _answers(LOADERS[kind].load(tmp_path / "model.zip", device="cpu"), seen))


def test_what_trunks_share_stays_ours() -> None:
    """Stock policies share no layers between actor and critic: two copies would be trained apart."""
    model = build("ppo", None, cartpole(), share_trunk=True)
    before = model.policy
    assert become_stock(model) is None
    assert model.policy is before


def _half(run: Path) -> None:
    config = _config("dqn").model_copy(update=_treated("plasticity_injection"))
    (run / "config.yaml").write_text(yaml.safe_dump(config.plain()))


def _damage(run: Path) -> None:
    (run / "checkpoints" / "task-1.npz").write_bytes(b"no arrays at all")


def _nothing(run: Path) -> None:
    """Leave it as it is."""


@pytest.mark.parametrize(
    ("spoil", "words", "said", "code"),
    [
        (_nothing, ("--task", "0", "--step", "60"), "one of them", 2),
        (_nothing, ("--task", "7"), "has no weights of task 7", 3),
        (_nothing, ("--step", "61"), "ckpt-000000000061", 3),
        (_nothing, ("--out", "{run}/checkpoints"), "nothing is written over", 2),
        (_nothing, ("--out", "{run}/config.yaml/deep"), "config.yaml is a file", 4),
        (_half, (), "plasticity_injection adds to the network what is not in its weights", 2),
        (_damage, ("--task", "1"), "is damaged", 3),
    ],
)
def test_what_cannot_be_exported_is_told(
    spoil: Callable[[Path], None],
    words: tuple[str, ...],
    said: str,
    code: int,
    runs: Mapping[str, Path],
    tmp_path: Path,
) -> None:
    """One line, a code, and not a file more than before."""
    run = copytree(runs["dqn"], tmp_path / "run")
    spoil(run)
    before = sorted(tmp_path.rglob("*"))
    assert said in _refused("export", run, *(word.format(run=run) for word in words), code=code)
    assert sorted(tmp_path.rglob("*")) == before
    assert "is not a run folder" in _refused("export", run / "checkpoints", code=3)


@pytest.mark.parametrize("at", [1, 2, 3])
def test_half_an_export_is_none(
    at: int, runs: Mapping[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full under any of its files: one line, code 4, and nothing is there."""
    left, sync = [at], os.fsync

    def full(handle: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise OSError(28, "No space left on device")
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in _refused("export", runs["ppo"], "--out", tmp_path / "out", code=4)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("kind", ["dqn", "ppo"])
def test_what_was_imported_is_the_agent(kind: str, tmp_path: Path) -> None:
    """Every answer bitwise that of the zip's own, with the layers and options that it was trained with."""
    more = {"buffer_size": 500, "exploration_final_eps": 0.5} if kind == "dqn" else {"n_steps": 64, "clip_range": 0.3}
    shape = {"net_arch": [24, 16], "activation_fn": nn.Tanh}
    zipped = tmp_path / "its.zip"
    model = LOADERS[kind]("MlpPolicy", "CartPole-v1", policy_kwargs=shape, seed=3, device="cpu", gamma=0.9, **more)
    model.learn(128)
    model.save(zipped)
    result = _command("import-sb3", zipped, *CARTPOLE, TRUST)
    assert result.exit_code == 0, result.output
    path, lost, look_at_it = result.stdout.splitlines()
    assert (path, look_at_it) == (str(tmp_path / "its-imported"), f"look at it: lopgym probe {path}")
    assert "what the optimizer remembers" in lost
    back = open_imported(Path(path), allow_import=())
    seen = _observations(model.observation_space)
    _same(_answers(model, seen), _answers(back, seen))
    assert (back.gamma, back.num_timesteps) == (0.9, 128)
    assert kind == "ppo" or back.exploration_rate == model.exploration_rate == 0.5
    assert kind == "dqn" or back.clip_range(1.0) == 0.3


@pytest.mark.parametrize("case", ["dqn", "ppo"])
def test_what_was_exported_can_be_imported(case: str, exports: Mapping[str, Export], tmp_path: Path) -> None:
    """A round trip, as long as the network is a stock one."""
    made = exports[case]
    world = f"lopgym:{made.about['world'].rpartition(':')[2]}"
    imported = import_sb3(made.path / "model.zip", world, trusted=True, out=tmp_path / "in")
    model = LOADERS[case].load(made.path / "model.zip", device="cpu")
    seen = _observations(model.observation_space)
    _same(_answers(model, seen), _answers(open_imported(imported.path, allow_import=()), seen))


def test_an_import_is_told_from_a_run(runs: Mapping[str, Path], stock: Path) -> None:
    """Both hold checkpoints: a run is none, nor is the folder of its checkpoints, and an import may lie in a run."""
    run = copytree(runs["dqn"], stock.parent / "run")
    imported = import_sb3(stock, "CartPole-v1", trusted=True, out=run / "in").path
    found = [is_imported(path) for path in (imported, run, run / "checkpoints", stock.parent, stock)]
    assert found == [True, False, False, False, False]


@pytest.mark.slow
def test_a_look_at_what_was_imported_is_one_at_the_zip(stock: Path) -> None:
    """Every reading of every probe, and of fresh networks beside it."""
    imported = import_sb3(stock, "CartPole-v1", trusted=True)
    there = look(open_subject(stock, env="CartPole-v1", trusted=True), fresh=2)
    here = look(Subject(there.name, open_imported(imported.path), 0, None, None, stock), fresh=2)
    assert json.dumps(here.plain()) == json.dumps(there.plain())


class _Own(FlattenExtractor):
    """A features extractor of somebody's own."""


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ({"features_extractor_class": _Own}, "features_extractor_class: unknown option"),
        ({"activation_fn": nn.Softplus}, "its activation is Softplus; known: ReLU"),
    ],
)
def test_what_plain_data_cannot_say_is_told(policy: dict[str, Any], said: str, tmp_path: Path) -> None:
    """A part of it is code: one line, and nothing is written."""
    PPO("MlpPolicy", "CartPole-v1", policy_kwargs=policy, n_steps=64, device="cpu").save(tmp_path / "own.zip")
    assert said in _refused("import-sb3", tmp_path / "own.zip", *CARTPOLE, TRUST, code=2)
    assert [path.name for path in tmp_path.iterdir()] == ["own.zip"]
    (tmp_path / "own.zip").rename(tmp_path / "its own.zip")
    advice = f"lopgym probe '{tmp_path}/its own.zip' --env CartPole-v1 {TRUST}"
    assert advice in _refused("import-sb3", tmp_path / "its own.zip", *CARTPOLE, TRUST, code=2)


def test_what_cannot_be_imported_is_told(stock: Path, tmp_path: Path) -> None:
    """One line and a code that says whose turn it is."""
    (tmp_path / "bad.zip").write_bytes(b"PK but no more")
    A2C("MlpPolicy", "CartPole-v1", device="cpu").save(tmp_path / "a2c.zip")
    (tmp_path / "there").mkdir()
    assert "--env ID" in _refused("import-sb3", stock, TRUST, code=2)
    assert "doesn't exist" in _refused("import-sb3", stock, TRUST, "--env", "CartPoel-v1", code=2)
    assert "spaces do not match" in _refused("import-sb3", stock, TRUST, "--env", "Pendulum-v1", code=3)
    assert "no zip of" in _refused("import-sb3", tmp_path / "bad.zip", TRUST, *CARTPOLE, code=3)
    assert "is of none of DQN, PPO" in _refused("import-sb3", tmp_path / "a2c.zip", TRUST, *CARTPOLE, code=3)
    assert "does not exist" in _refused("import-sb3", tmp_path / "no.zip", TRUST, *CARTPOLE, code=3)
    assert "written over" in _refused("import-sb3", stock, TRUST, *CARTPOLE, "--out", tmp_path / "there", code=2)


def test_a_full_disk_leaves_nothing_in_the_way_of_the_next_try(
    stock: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder that was made for it is gone, too."""

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert "No space left" in _refused("import-sb3", stock, TRUST, *CARTPOLE, "--out", tmp_path / "in", code=4)
    assert not (tmp_path / "in").exists()
    assert _command("import-sb3", stock, TRUST, *CARTPOLE, "--out", tmp_path / "in").exit_code == 0


def test_a_zip_of_which_a_bit_is_another_is_damaged_or_fine(tmp_path: Path) -> None:
    """Each bit of a small one in turn: what is told of it never depends on where two parsers give up."""
    with zipfile.ZipFile(tmp_path / "good.zip", "w") as parts:
        parts.writestr("data", json.dumps(dict.fromkeys(_own_options(DQN), 0)))
    good, told = (tmp_path / "good.zip").read_bytes(), []
    assert issubclass(_algorithm(tmp_path / "good.zip"), DQN)
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        (tmp_path / "bad.zip").write_bytes(bad)
        try:
            _algorithm(tmp_path / "bad.zip")
        except store.CheckpointError as error:
            told.append(error.why)
    assert set(told) == {"is damaged, or no zip of Stable-Baselines3"}
    assert len(told) > 200


class _Evil:
    """What makes a marker as it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(stock: Path) -> Path:
    """Return what a hostile zip makes when it gets to run: pickles in its data, its weights and its optimizer."""
    marker, evil = stock.with_name("marker"), stock.with_name("evil.zip")
    pickled = pickle.dumps(_Evil(marker))
    with zipfile.ZipFile(stock) as good, zipfile.ZipFile(evil, "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            if name == "data":
                data = json.dumps(json.loads(data) | {"more": {":serialized:": b64encode(pickled).decode()}}).encode()
            bad.writestr(name, pickled if name.endswith(".pth") else data)
    return marker


@pytest.mark.fault("F8")
@pytest.mark.parametrize("words", [("import-sb3",), ("probe",)], ids=lambda words: words[0])
def test_a_hostile_zip_runs_nothing(words: tuple[str, ...], marker: Path) -> None:
    """Refused in one line that says why; with the flag it does run, so the marker is one."""
    evil = marker.with_name("evil.zip")
    assert "runs any code that its author put in" in _refused(*words, evil, *CARTPOLE, code=2)
    assert not marker.exists()
    assert _command(*words, evil, *CARTPOLE, TRUST).exit_code == 3
    assert marker.exists()


@pytest.mark.fault("F8")
def test_a_zip_of_no_known_algorithm_runs_nothing(marker: Path) -> None:
    """Not even for who trusts it: it is told from its plain part."""
    evil, other = marker.with_name("evil.zip"), marker.with_name("other.zip")
    with zipfile.ZipFile(evil) as bad, zipfile.ZipFile(other, "w") as worse:
        worse.writestr("data", json.dumps({"more": json.loads(bad.read("data"))["more"]}))
    assert "is of none of" in _refused("import-sb3", other, *CARTPOLE, TRUST, code=3)
    assert not marker.exists()


@pytest.mark.fault("F8")
def test_a_world_of_somebodys_is_imported_only_if_allowed(stock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who trusts a zip does not yet trust what the id of its world would bring in."""
    marker = stock.with_name("imported")
    stock.with_name("worlds_of_theirs.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(stock.parent)
    words = ("import-sb3", stock, TRUST, "--env", "worlds_of_theirs:CartPole-v1")
    assert "allow it with --allow-import worlds_of_theirs" in _refused(*words, code=2)
    assert not marker.exists()
    done = _command(*words, "--allow-import", "worlds_of_theirs")
    assert done.exit_code == 0, done.output
    assert marker.exists()
    with pytest.raises(ValueError, match="would import worlds_of_theirs"):
        open_imported(stock.with_name("ppo-imported"))


@pytest.mark.fault("F8")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"env": "evil_world:Evil-v0"}, "allow it with --allow-import evil_world"),
        ({"env": "evil_world"}, "doesn't exist"),
        ({"kind": "evil_world.Agent"}, "evil_world.Agent"),
        ({"policy": {"name": "evil_world.Policy"}}, "policy.name"),
        ({"policy": {"name": "MlpPolicy", "features_extractor_class": "evil_world.Own"}}, "features_extractor_class"),
        ({"policy": {"name": "MlpPolicy", "activation_fn": "evil_world.Act"}}, "evil_world.Act"),
        ({"policy": {"name": "MlpPolicy", "net_arch": [65536] * 64}}, "larger than its weights"),
        ({"policy": {"name": "MlpPolicy", "net_arch": [65536]}}, "larger than its weights"),
        ({"policy": {"name": "MlpPolicy", "net_arch": [63, 64]}}, "of another network"),
        ({"options": {"n_steps": 10**12}}, "is no imported agent"),
        ({"options": {"policy_class": "evil_world.Policy"}}, "policy_class"),
        ({"steps": -1}, "steps"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, dict) else None,
)
def test_a_hostile_import_runs_nothing(
    changes: dict[str, Any], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said to be what `import-sb3` has written, its checksums fit, and it is read as the data that it is."""
    (tmp_path / "evil_world.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    model = PPO("MlpPolicy", "CartPole-v1", n_steps=64, device="cpu")
    model.save(tmp_path / "good.zip")
    saved, _ = store.newest(import_sb3(tmp_path / "good.zip", "CartPole-v1", trusted=True).path)
    assert saved is not None
    tree = {"imported": saved.tree["imported"] | changes, "policy": saved.tree["policy"]}
    store.save(tmp_path / "evil", 0, tree, about={})
    started = time.process_time()
    with pytest.raises((ValueError, store.CheckpointError), match=said) as caught:
        open_imported(tmp_path / "evil", allow_import=())
    assert time.process_time() - started < 2
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "marker").exists()
