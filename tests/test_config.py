"""Files, groups and overrides make one checked config, and every fault says where it is and what was meant."""

from __future__ import annotations

import string
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml
from hydra import compose
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from stable_baselines3 import DQN

from lopgym.agents import problems
from lopgym.agents.task_change import TaskChange
from lopgym.envs import environments
from lopgym.schedules import Cycle
from lopgym.studies.assembly import NODES
from lopgym.studies.compose import ConfigError, from_keywords, from_plain, load, session, variant_name
from lopgym.studies.config import entries, registries
from lopgym.studies.request import MANY
from lopgym.studies.schema import Options
from lopgym.studies.variant import LONGEST, describe
from lopgym.studies.worlds import world_options

CONFIGS = Path(__file__).parents[1] / "configs"
STUDIES = sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml"))
PRESETS = sorted((path.parent.name, path.stem) for path in CONFIGS.glob("[ae]*/*.yaml"))
STANDARD = set(yaml.safe_load((CONFIGS / "probes" / "standard.yaml").read_text())["defaults"])
NEEDED = {"custom": ["env.id=CartPole-v1"]}  # what a study cannot know
REGISTERED = [(group, name) for group in NODES for name in entries(group)]


@pytest.fixture(scope="module")
def loader() -> Iterator[Any]:
    """Open one session for all tests of the module."""
    with session() as opened:
        yield opened


def _lines(loader: Any, *words: str, allow_import: tuple[str, ...] = ()) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(loader, words, allow_import=allow_import)
    return caught.value.lines


@pytest.mark.parametrize("study", STUDIES)
def test_every_study_loads_and_survives_yaml(loader: Any, study: str) -> None:
    """A config written to YAML and read back is the same config, types included."""
    config = load(loader, [f"study={study}", *NEEDED.get(study, ())])
    again = from_plain(yaml.safe_load(yaml.safe_dump(config.plain(), sort_keys=False)))
    assert again == config
    assert again.plain() == config.plain()
    assert (config.study, variant_name(config)) == (study, "none--env.id=CartPole-v1" if NEEDED.get(study) else "none")
    assert config.mitigation == {}
    assert set(config.probes) == STANDARD


def test_probes_are_the_standard_set_unless_told_otherwise(loader: Any) -> None:
    """More by name, all there are, or none."""
    every = {entry.name for entry in registries()[1]["probes"]}
    assert every > STANDARD
    for chosen, names in (("all", every), ("none", set()), ("[standard,escape_rate]", STANDARD | {"escape_rate"})):
        assert set(load(loader, ["study=catch_dqn", f"probes={chosen}"]).probes) == names


def test_a_partition_into_clones_can_be_given(loader: Any) -> None:
    """By layer, a label for each unit."""
    words = ["study=catch_dqn", "probes=cloning_r2", "probes.cloning_r2.partition={q.hidden0: [0, 1, 1]}"]
    assert load(loader, words).plain()["probes"]["cloning_r2"]["partition"] == {"q.hidden0": [0, 1, 1]}


@pytest.mark.parametrize(("group", "name"), PRESETS)
def test_every_preset_can_be_chosen(loader: Any, group: str, name: str) -> None:
    """A preset has the kind and all the options of what it tunes."""
    words = ["study=catch_dqn", f"{group}={name}", "steps_per_task=40960"]
    words += [] if group == "env" else ["env=label_bandit", "env.n_envs=64"]
    words += ["agent=ppo", "agent.n_steps=32", "agent.batch_size=32"] if group == "env" else []
    config = load(loader, words)
    node = getattr(config, group)
    assert set(node.model_dump()) == set(entries(group)[node.kind].model_fields)


@pytest.mark.parametrize(("group", "name"), REGISTERED, ids=lambda part: part)
def test_every_option_of_every_registered_thing_can_be_overridden(loader: Any, group: str, name: str) -> None:
    """Another value for each option is taken from the command line and arrives."""
    study = ["study=custom", "env.id=CartPole-v1"] if name == "custom" else ["study=catch_dqn"]
    if group == "agent":
        study += ["env=pixel_breakout"]  # both stems can read an image
    if group == "env" and name != "custom":
        study += ["agent=ppo", "agent.n_steps=32", "agent.batch_size=32"]  # it takes whatever actions the options make
    plain = {"kind": name, "id": "CartPole-v1"} if name == "custom" else {"kind": name}
    others = _others(entries(group)[name], plain)
    where = f"{group}.{name}" if group in MANY else group
    words = [
        f"{where}.{option}={str(value).lower() if isinstance(value, bool) else value}"
        for option, value in others.items()
    ]
    # 2^10 x 3^2 x 5 x 7 steps are a multiple of any rollout that is tried
    config = load(loader, [*study, f"{group}={name}", "tasks=1", "steps_per_task=322560", *words])
    options = getattr(config, group)[name] if group in MANY else getattr(config, group)
    assert {option: options.plain()[option] for option in others} == others


def _others(entry: type[Options], given: dict[str, Any]) -> dict[str, Any]:
    """Find for each option another value that the model takes."""
    plain = entry.model_validate(given).plain()
    mappings = {"kwargs", "drifts", "clocks", "trigger", "partition"}  # each has tests of its own
    others = {option: _other(entry, plain, option) for option in plain.keys() - {"kind", "id"} - mappings}
    stuck = {option for option, value in others.items() if value is None}
    assert stuck <= {"active_from"}, "only a method that shapes the network has an option without a choice"
    return {option: value for option, value in others.items() if option not in stuck}


def _other(entry: type[Options], plain: dict[str, Any], option: str) -> Any:
    for value in [
        0.25,
        0.5,
        7,
        True,
        False,
        [5],
        "conv",
        ["Acrobot-v1"],
        "task",
        "updates",
        *getattr(entry.model_fields[option].annotation, "__args__", ()),
    ]:
        with suppress(ValidationError):
            moved: Any = entry.model_validate(plain | {option: value}).plain()[option]
            if moved != plain[option]:
                return moved
    return None


@pytest.mark.parametrize("study", STUDIES)
def test_what_a_study_tunes_exists(loader: Any, study: str) -> None:
    """Options of entries that nobody chose are not looked at, so each is chosen here."""
    tuned = yaml.safe_load((CONFIGS / "study" / f"{study}.yaml").read_text()).get("mitigation", {})
    for name, options in tuned.items():
        config = load(loader, [f"study={study}", *NEEDED.get(study, ()), f"mitigation={name}"])
        chosen = config.mitigation[name].plain()
        assert {option: chosen[option] for option in options} == {o: _number(value) for o, value in options.items()}


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3, without a point, as a string; the configs read it as a number."""
    with suppress(ValueError, TypeError):
        return float(value)
    return value


def test_mitigations_stack_in_the_order_given(loader: Any) -> None:
    """The order of the list is the order in the config, and a study's tuning reaches those that are chosen."""
    config = load(loader, ["study=catch_dqn", "mitigation=[redo,layer_norm]", "mitigation.redo.every=3"])
    assert list(config.mitigation) == ["redo", "layer_norm"]
    assert list(load(loader, ["study=catch_dqn", "mitigation=[layer_norm,redo]"]).mitigation) == ["layer_norm", "redo"]
    assert config.mitigation["redo"].model_dump()["every"] == 3
    assert config.mitigation["redo"].model_dump()["tau"] == 0.1


def test_the_tuning_of_the_bandit_study(loader: Any) -> None:
    """Numbers of the study, as published with it."""
    words = ["study=label_bandit_ppo", "mitigation=[redo,cbp,shrink_perturb]"]
    redo, cbp, shrink = (options.model_dump() for options in load(loader, words).mitigation.values())
    assert (redo["tau"], redo["every"], redo["batch"]) == (0.1, 100, 256)
    assert (cbp["replacement_rate"], cbp["maturity"]) == (1e-2, 50)
    assert (shrink["shrink"], shrink["perturb"], shrink["optimizer"]) == (0.5, 0.5, "clear")


def test_drift_periods_follow_the_length_of_a_task(loader: Any) -> None:
    """Periods are interpolated, so that a shorter task is a whole task."""
    config = load(loader, ["study=catch_dqn", "steps_per_task=160"])
    assert {drift["period"] for drift in config.plain()["env"]["drifts"].values()} == {160}
    assert config.evaluation.every == 160


def test_a_given_drift_replaces_that_of_the_study(loader: Any) -> None:
    """Mappings of schedules are not merged: {} is the stationary world, a new kind has no options of the old one."""
    assert load(loader, ["study=catch_dqn", "env.drifts={}"]).env.drifts == {}
    sine = "env.drifts.gravity={kind: sine, mean: 9.8, amplitude: 3, period: 1000}"
    drifts = load(loader, ["study=cartpole_gravity", sine]).plain()["env"]["drifts"]
    assert drifts == {"gravity": {"kind": "sine", "mean": 9.8, "amplitude": 3.0, "period": 1000.0, "phase": 0.0}}
    constant = load(loader, ["study=cartpole_gravity", "env.drifts={gravity: 3}"]).plain()["env"]["drifts"]
    assert constant == {"gravity": {"kind": "constant", "value": 3.0}}


def test_clocks_and_trigger_are_part_of_the_config(loader: Any) -> None:
    """Given whole or key by key, they replace what was there, survive YAML, and are in the name of the variant."""
    triggered = ["study=cartpole_gravity", "env.clocks.gravity=trigger", "env.trigger={threshold: 400, cap: 9000}"]
    config = load(loader, triggered)
    said = yaml.safe_load(yaml.safe_dump(config.plain()))
    assert said["env"]["clocks"] == {"gravity": "trigger"}
    assert said["env"]["trigger"] == {"threshold": 400.0, "plateau": None, "window": 20, "cap": 9000}
    assert from_plain(said) == config
    assert load(loader, [*triggered, "env.trigger.window=5"]).plain()["env"]["trigger"]["window"] == 5
    assert "env.clocks.gravity=trigger" in variant_name(config)
    back = load(loader, [*triggered, "env.clocks={}", "env.trigger=null"])
    assert back == load(loader, ["study=cartpole_gravity", f"variant={variant_name(back)}"])


def test_a_world_of_ours_by_id_has_its_own_drift(loader: Any) -> None:
    """Null is the documented drift, {} is none; module and version may be there or not, as in Gymnasium."""
    documented = environments["catch"].facts["drifts"]
    words = ["study=custom", "env.id=lopgym/Catch-v0"]
    assert world_options(load(loader, words))["drifts"] == documented
    assert world_options(load(loader, ["study=custom", "env.id=lopgym:lopgym/Catch-v0"]))["drifts"] == documented
    assert world_options(load(loader, [*words, "env.drifts={}"]))["drifts"] == {}
    assert world_options(load(loader, ["study=custom", "env.id=CartPole-v1"]))["drifts"] == {}
    assert world_options(load(loader, ["study=custom", "env.id=lopgym/Catch"]))["drifts"] == documented


class _Unbounded(gym.Env[Any, Any]):
    """A world whose actions have no bounds."""

    observation_space = gym.spaces.Box(0, 1, (2,))
    action_space = gym.spaces.Box(-np.inf, np.inf, (2,))


def test_a_world_named_without_its_version_is_pinned(loader: Any) -> None:
    """What Gymnasium takes today is recorded, so that a run that is resumed meets it again."""
    for said, meant in (("CartPole", "CartPole-v1"), ("lopgym:lopgym/Catch", "lopgym:lopgym/Catch-v0")):
        config = load(loader, ["study=custom", f"env.id={said}"])
        assert config.plain()["env"]["id"] == meant


def test_actions_without_bounds_are_refused(loader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gaussian exploration has to be cut somewhere."""
    spec = gym.envs.registration.EnvSpec("Unbounded-v0", entry_point=_Unbounded, disable_env_checker=True)
    monkeypatch.setitem(gym.registry, "Unbounded-v0", spec)
    (line,) = _lines(loader, "study=custom", "env.id=Unbounded-v0")
    assert "the action space is Box(-inf, inf, (2,), float32); agents need bounds" in line


class _Screen(gym.Env[Any, Any]):
    """A world seen as an image, channels last."""

    observation_space = gym.spaces.Box(0, 255, (36, 36, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)


def test_images_may_have_their_channels_last(loader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stable-Baselines3 puts them first before the network reads them."""
    spec = gym.envs.registration.EnvSpec("Screen-v0", entry_point=_Screen, disable_env_checker=True)
    monkeypatch.setitem(gym.registry, "Screen-v0", spec)
    assert load(loader, ["study=custom", "env.id=Screen-v0", "agent.stem=conv"]).agent.model_dump()["stem"] == "conv"


def test_judging_a_config_draws_no_random_number(loader: Any) -> None:
    """Whoever asks only what a config says goes on as if nothing had been asked."""
    before = torch.get_rng_state()
    load(loader, ["study=label_bandit_ppo", "agent.hidden=[65536]"])
    assert torch.equal(before, torch.get_rng_state())


def test_another_world_or_agent_takes_its_own_values(loader: Any) -> None:
    """What a study chose by preset is dropped with the preset."""
    config = load(loader, ["study=catch_dqn", "env=cartpole", "agent=ppo", "steps_per_task=1280"])
    assert config.env.drifts is None
    assert config.agent == entries("agent")["ppo"].model_validate({"kind": "ppo"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "study: say which, study=NAME; known: cartpole_gravity, catch_dqn"),
        ("study=catch_dqm", "study=catch_dqm: no such study; did you mean 'catch_dqn'?"),
        ("study=catch_dqn mitigation=reod", "mitigation=reod: no such mitigation; did you mean 'redo'?"),
        ("study=catch_dqn env=cathc", "env=cathc: no such env; did you mean 'catch'?"),
        ("study=catch_dqn mitigations=redo", "mitigations=redo: unknown option; did you mean 'mitigation'?"),
        ("study=catch_dqn agent.lerning_rate=1", "lerning_rate=1: unknown option; did you mean 'learning_rate'?"),
        ("study=catch_dqn env.row=7", "env.row=7: unknown option; did you mean 'rows'?"),
        ("study=catch_dqn env.apply=truncat", "not allowed; did you mean 'truncate'? (got 'truncat')"),
        ("study=catch_dqn task_change.optimizer=clean", "not allowed; did you mean 'clear'?"),
        ("study=catch_dqn seed=x", "seed=x: Input should be a valid integer"),
        ("study=catch_dqn seed=true", "seed=true: Input should be a number, not a bool (got True)"),
        ("study=catch_dqn agent.gamma=true", "Input should be a number, not a bool"),
        ("study=catch_dqn normalize.rewards=1", "normalize.rewards=1: Input should be a valid boolean (got 1)"),
        ("study=catch_dqn fork.evry=2", "fork.evry=2: unknown option; did you mean 'every'?"),
        ("study=catch_dqn fork.every=-1", "fork.every=-1: Input should be greater than or equal to 0 (got -1)"),
        ("study=catch_dqn fork.repeats=1", "fork.repeats=1: Input should be greater than or equal to 2 (got 1)"),
        ("study=catch_dqn fork.samples=1000000", "Input should be less than or equal to 65536 (got 1000000)"),
        ("study=catch_dqn fork=5", "fork=5: Input should be a valid dictionary"),
        ("study=catch_dqn fork.seed=3", "fork.seed=3: unknown option;"),
        ("study=catch_dqn null_calibration.networks=1", "Input should be greater than or equal to 2 (got 1)"),
        ("study=catch_dqn null_calibration.probes=all", "null_calibration.probes=all: unknown option;"),
        ("study=catch_dqn nul_calibration.every=1", "unknown option; did you mean 'null_calibration'?"),
        ("study=catch_dqn spectra_every=0.5", "spectra_every=0.5: Input should be a valid integer"),
        ("study=catch_dqn tasks=2.5", "tasks=2.5: Input should be a valid integer"),
        ("study=catch_dqn seed=-1", "seed=-1: Input should be greater than or equal to 0 (got -1)"),
        ("study=catch_dqn agent.gamma=1.5", "Input should be less than or equal to 1 (got 1.5)"),
        ("study=catch_dqn agent.learning_rate=nan", "Input should be a finite number"),
        ("study=catch_dqn agent.hidden=[]", "agent.hidden=[]: "),
        ("study=catch_dqn agent.stem=mpl", "no stem named 'mpl'; did you mean 'mlp'?"),
        ("study=catch_dqn device=gpu", "device=gpu: "),
        ("study=catch_dqn variant=../x", "variant=../x: '../x' is no folder's name: at most 100 letters"),
        ("study=catch_dqn variant=a/b", "such as 'a-b'"),
        ("study=catch_dqn variant=con", "'con' is a device of Windows and no folder's name there; such as 'my-con'"),
        ("study=catch_dqn variant=a.", "such as 'a'"),
        ("study=catch_dqn variant=" + "a" * 101, f"such as '{'a' * 100}'"),
        ("study=catch_dqn env.n_envs='4'", "Input should be a number, not text; write it without quotes (got '4')"),
        ("study=catch_dqn agent.learning_rate=1e9", "1e+09 is no step size that learns anything; at most 10"),
        (
            "study=catch_dqn agent.buffer_size=" + "9" * 30,
            "more than any machine can do; at most 1,000,000,000,000,000",
        ),
        ("study=label_bandit_ppo agent.batch_size=257", "257 transitions, but a rollout has 256"),
        ("study=label_bandit_ppo agent.batch_size=1", "one transition has no spread to normalise advantages by"),
        ("study=catch_dqn agent.batch_size=2001", "2001 transitions, but the buffer keeps 2000"),
        ("study=catch_dqn agent.learning_starts=19200", "19200 steps before the first update, but the run has 19200"),
        ("study=catch_dqn agent.learning_starts=900", "900 random steps in each task, but a task has 800"),
        ("study=catch_dqn steps_per_task=-5", "steps_per_task=-5: Input should be greater than 0 (got -5)"),
        ("study=catch_dqn mitigation.redo.tau=1", "redo is not in mitigation=none; write mitigation=redo"),
        ("study=catch_dqn mitigation.reod.tau=1", "no such mitigation; did you mean 'redo'?"),
        ("study=catch_dqn mitigation=[redo,redo]", "redo is chosen twice"),
        ("study=catch_dqn mitigation=layer_norm mitigation.layer_norm.active_from=3", "acts from the start"),
        (
            "study=label_bandit_ppo steps_per_task=1000",
            "256 steps (4 n_steps x 64 n_envs); nearest: 768 or 1024",
        ),
        ("study=label_bandit_ppo steps_per_task=100", "nearest: 256"),
        (
            "study=catch_dqn env.n_envs=3",
            "3 steps (1 train_freq x 3 n_envs); nearest: 798 or 801",
        ),
        ("study=custom", "env.id: needed; it has no default"),
        ("study=custom env.id=CartPol-v1", "Did you mean: `CartPole`?"),
        ("study=custom env.id=pkg:Id-v0", "would import pkg; allow it with --allow-import pkg"),
        ("study=custom env.id=Pendulum-v1 agent=dqn", "dqn takes Discrete actions, not Box; agent=ppo does"),
        ("study=cartpole_gravity env.drifts.gravty=3", "no parameter 'gravty' can drift here; did you mean 'gravity'?"),
        (
            "study=cartpole_gravity env.drifts.gravity.values=[9.8,99]",
            "at step 20480: gravity=99.0 is outside",
        ),
        ("study=cartpole_gravity env.clocks.gravity=episod", "not allowed; did you mean 'episode'? (got 'episod')"),
        ("study=cartpole_gravity env.clocks={gravty:step}", "'gravty' does not drift; did you mean 'gravity'?"),
        ("study=cartpole_gravity env.clocks.gravity=trigger", "env.clocks: give a trigger if, and only if"),
        ("study=cartpole_gravity env.trigger.cap=100", "env.trigger: give a trigger if, and only if"),
        ("study=cartpole_gravity env.trigger.treshold=1", "unknown option; did you mean 'threshold'?"),
        ("study=cartpole_gravity env.trigger={}", "it would never fire"),
        ("study=cartpole_gravity env.trigger.cap=0", "Input should be greater than 0 (got 0)"),
        (
            "study=cartpole_gravity env.clocks.gravity=step "
            "env.drifts.gravity={kind:sum,terms:[10,{kind:linear,start:10,end:45,steps:350}]}",
            "at step 301 of an episode: gravity=50.",
        ),
        ("study=cartpole_gravity env.n_envs=1000000", "Input should be less than or equal to 65536 (got 1000000)"),
        ("study=catch_dqn evaluation.episodes=1000000", "Input should be less than or equal to 65536 (got 1000000)"),
        ("study=catch_dqn agent.hidden=[64,1000000]", "a hidden layer of 1,000,000 units; at most 65,536"),
        (
            "study=catch_dqn agent.hidden=[60000,60000]",
            "3,600,000,000 weights between hidden layers; at most 67,108,864",
        ),
        ("study=catch_dqn agent.stem=conv", "agent.stem=conv: the conv stem needs a Box of shape (C, H, W), not Box"),
        (
            "study=custom env.id=Blackjack-v1",
            "the observation space is Tuple(Discrete(32), Discrete(11), Discrete(2));",
        ),
        ("study=cartpole_gravity env.drifts.gravity.kind=cycel", "no kind 'cycel'; did you mean 'cycle'?"),
        ("study=cartpole_gravity env.drifts.gravity.period=0", "Input should be greater than 0 (got 0)"),
        ("study=cartpole_gravity env.drifts.gravity.period=${nope}", "Interpolation key 'nope' not found"),
        ("study=catch_dqn seed=1,2", "seed=1,2: that makes several runs"),
        ("study=catch_dqn +seed=1", "+seed=1: write key=value"),
        ("study=catch_dqn seed", "seed: not of the form key=value"),
        ("study=catch_dqn agent.kind=ppo", "agent.kind=ppo: write agent=ppo"),
        ("study=catch_dqn agent=[ppo,dqn]", "agent takes one name"),
        ("study=catch_dqn study.x=1", "a study has no options"),
    ],
)
def test_a_fault_is_told_in_one_line(loader: Any, words: str, said: str) -> None:
    """One fault, one line: what came, what is allowed, what was probably meant."""
    lines = _lines(loader, *words.split())
    assert len(lines) == 1
    assert said in lines[0]
    assert "\n" not in lines[0]


def test_all_faults_are_told_at_once(loader: Any) -> None:
    """Nobody has to run five times to find five faults."""
    words = ["mitigation=reod", "seed=x", "taskz=3", "agent.lerning_rate=1", "agent.gamma=2", "env.drifts.code=a"]
    assert [line.partition(":")[0] for line in sorted(_lines(loader, "study=catch_dqn", *words))] == sorted(words)


def test_what_hangs_on_an_unknown_entry_is_not_judged(loader: Any) -> None:
    """The options of a misspelt mitigation may be right."""
    assert len(_lines(loader, "study=catch_dqn", "mitigation=reod", "mitigation.redo.tau=0.5")) == 1


def test_the_line_of_a_fault_in_a_file_is_named(tmp_path: Path) -> None:
    """The user's own study is told by file and line, whatever depth the fault is at."""
    (tmp_path / "study").mkdir()
    text = "# @package _global_\ndefaults: [catch_dqn]\nsede: 1\nagent:\n  gamma: 2\nmitigation: {reod: {tau: 1}}\n"
    (tmp_path / "study" / "mine.yaml").write_text(text)
    with session(tmp_path) as loader:
        lines = "\n".join(_lines(loader, "study=mine"))
    assert "mine.yaml:3:1: sede: unknown option; did you mean 'seed'?" in lines
    assert "mine.yaml:5:3: agent.gamma: Input should be less than or equal to 1 (got 2)" in lines
    assert "mine.yaml:6:14: mitigation.reod: no such mitigation; did you mean 'redo'?" in lines


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("study/mine", "tasks: 3\n", "the line `# @package _global_`"),
        ("study/mine", "# @package _global_\nagent: ppo\n", "override /GROUP: NAME"),
        ("study/mine", "# @package _global_\ntasks: 3\n", "nothing is chosen: env=NAME"),
        ("study/mine", "# @package _global_\n  tasks: [3\n", "mine.yaml"),
        ("mitigation/redo", "redo: {tau: 1}\n", "redo is built in; give the preset another name"),
    ],
)
def test_a_file_of_the_wrong_form_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    """Mistakes that only a file can hold."""
    path = tmp_path / f"{name}.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigError) as caught, session(tmp_path) as loader:
        load(loader, ["study=mine"])
    assert said in str(caught.value)


def test_a_preset_of_ones_own_under_a_label(tmp_path: Path) -> None:
    """Two instances of one mitigation live under two labels."""
    (tmp_path / "mitigation").mkdir()
    (tmp_path / "mitigation" / "strong_redo.yaml").write_text("strong_redo: {kind: redo, tau: 0.3}\n")
    with session(tmp_path) as loader:
        config = load(loader, ["study=catch_dqn", "mitigation=[strong_redo,redo]"])
    assert [(label, options.kind) for label, options in config.mitigation.items()] == [
        ("strong_redo", "redo"),
        ("redo", "redo"),
    ]
    assert variant_name(config) == "strong_redo+redo"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("", "none"),
        ("seed=7 runs_dir=elsewhere", "none"),
        ("mitigation=redo", "redo"),
        ("mitigation=redo mitigation.redo.tau=0.1", "redo"),
        ("mitigation=redo mitigation.redo.active_from=14", "redo@14"),
        ("mitigation=redo mitigation.redo.tau=0.2", "redo,tau=0.2"),
        ("mitigation=[layer_norm,redo] mitigation.redo.active_from=2", "layer_norm+redo@2"),
        ("tasks=3 steps_per_task=100", "none--steps_per_task=100,tasks=3"),
        ("tasks=24", "none"),
        ("agent.hidden=[64,64] mitigation=fresh", "fresh--agent.hidden=64x64"),
        ("agent=ppo steps_per_task=1280", "none--agent=ppo,steps_per_task=1280"),
        ("agent=dqn_catch", "none"),
        ("env.drifts={}", "none--env.drifts=empty"),
        ("probes=none", "none--probes=none"),
        ("env.clocks={observation_order:episode}", "none--env.clocks.observation_order=episode"),
        (
            "study=custom env=task_sequence env.ids=[CartPole-v1,Acrobot-v1]",
            "none--env=task_sequence,env.ids=CartPole-v1xAcrobot-v1",
        ),
        (
            "study=custom env=task_sequence env.ids=[[CartPole-v1,{}],[Acrobot-v1,{}]]",
            "none--env=task_sequence,env.ids=CartPole-v1+emptyxAcrobot-v1+empty",
        ),
        ("variant=mine mitigation=redo", "mine"),
    ],
)
def test_a_variant_is_named_after_what_differs_from_its_study(loader: Any, words: str, name: str) -> None:
    """Only what changes the run is in the name, each cause once."""
    assert variant_name(load(loader, ["study=catch_dqn", *words.split()])) == name


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), st.text(max_size=200) | st.floats() | st.booleans()))
def test_a_variant_name_is_a_safe_folder_name(options: dict[str, Any]) -> None:
    """Any option values make one path component of bounded length."""
    name = describe(options, {})
    assert set(name) <= set(string.ascii_letters + string.digits + "._,=+@-~")
    assert len(name) <= LONGEST
    assert name.startswith("none")


@given(st.text(max_size=150), st.text(max_size=150))
def test_different_values_have_different_variant_names(one: str, other: str) -> None:
    """A name that is cut or cleaned still tells runs apart, wherever they differ."""
    for within in (lambda value: value, lambda value: [{"b": value}], lambda value: ["c", {"b": {"d": value}}, {}]):
        assert (describe({"a": within(one)}, {}) == describe({"a": within(other)}, {})) == (one == other)


def test_keywords_say_what_words_say(loader: Any) -> None:
    """`lopgym.run` takes names, nested dicts, keys with dots and schedules."""
    words = ["study=cartpole_gravity", "mitigation=[redo]", "mitigation.redo.tau=0.2", "agent.n_epochs=5", "tasks=2"]
    drift = "env.drifts={gravity: {kind: cycle, values: [1.0, 2.0], period: 512}}"
    config = from_keywords(
        "cartpole_gravity",
        mitigation={"redo": {"tau": 0.2}},
        env={"drifts": {"gravity": Cycle(values=(1.0, 2.0), period=512)}},
        tasks=2,
        **{"agent.n_epochs": 5},
    )
    assert config == load(loader, [*words, drift])
    assert from_keywords(
        "catch_dqn", mitigation=["redo", "layer_norm"], agent={"kind": "dqn", "train_freq": 2}
    ) == load(loader, ["study=catch_dqn", "mitigation=[redo,layer_norm]", "agent=dqn", "agent.train_freq=2"])
    with pytest.raises(ConfigError, match="mitigation='reod': no such mitigation; did you mean 'redo'"):
        from_keywords("catch_dqn", mitigation="reod")


def test_a_plain_config_of_another_version_is_refused(loader: Any) -> None:
    """What was written is checked again when it is read."""
    plain = load(loader, ["study=catch_dqn"]).plain()
    with pytest.raises(ConfigError, match=r"config: agent\.gone: unknown option"):
        from_plain(plain | {"agent": plain["agent"] | {"gone": 1}})


def test_an_agent_that_nothing_is_known_of_cannot_fork(loader: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else's, without a problem that its copies could race on, is told so before it trains."""
    monkeypatch.delitem(problems.SOURCES, DQN)
    (line,) = _lines(loader, "study=catch_dqn", "fork.every=1")
    assert line == "fork.every=1: nobody knows what dqn could race on; known: ppo"


@pytest.mark.parametrize("look", ["fork", "null_calibration"])
def test_what_is_half_of_an_agent_cannot_be_compared_with_fresh_ones(loader: Any, look: str) -> None:
    """The frozen parts of an injection would stay on a network whose weights are drawn anew."""
    words = ["study=catch_dqn", "mitigation=[redo,plasticity_injection]", f"{look}.every=5"]
    (line,) = _lines(loader, *words)
    assert line.startswith(f"{look}.every=5: plasticity_injection adds to the network what is not in its weights")


def test_what_looks_deeper_is_off_unless_asked_for(loader: Any) -> None:
    """As it comes, and in a config that was written before it existed; every option arrives and survives YAML."""
    plain = load(loader, ["study=catch_dqn"]).plain()
    assert (plain["fork"]["every"], plain["null_calibration"]["every"], plain["spectra_every"]) == (0, 0, 0)
    older = {name: value for name, value in plain.items() if name not in ("fork", "null_calibration", "spectra_every")}
    assert from_plain(older).plain() == plain
    words = ["fork.every=5", "fork.updates=7", "null_calibration.networks=3", "spectra_every=9"]
    told = from_plain(yaml.safe_load(yaml.safe_dump(load(loader, ["study=catch_dqn", *words]).plain()))).plain()
    assert told["fork"] == {"every": 5, "updates": 7, "repeats": 5, "samples": 256}
    assert told["null_calibration"] == {"every": 0, "networks": 3, "samples": 256}
    assert told["spectra_every"] == 9


def test_a_package_is_imported_only_if_allowed(loader: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`pkg:Id-v0` runs nobody's code before it was allowed by name."""
    (tmp_path / "a_world_of_mine.py").write_text(
        "import gymnasium as gym\n"
        "from gymnasium.envs.classic_control import CartPoleEnv\n"
        "gym.register('Mine-v0', entry_point=CartPoleEnv, max_episode_steps=50)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["study=custom", "env.id=a_world_of_mine:Mine-v0"]
    assert "would import a_world_of_mine" in _lines(loader, *words)[0]
    for ids in ("[a_world_of_mine:Mine-v0,CartPole-v1]", "[CartPole-v1,[a_world_of_mine:Mine-v0,{}]]"):
        assert (
            "would import a_world_of_mine" in _lines(loader, "study=custom", "env=task_sequence", f"env.ids={ids}")[0]
        )
    assert "a_world_of_mine" not in sys.modules
    assert load(loader, words, allow_import=["a_world_of_mine"]).plain()["env"]["id"] == "a_world_of_mine:Mine-v0"


def test_a_session_leaves_an_application_of_hydra_alone() -> None:
    """`lopgym.run` inside somebody's Hydra application must not end it."""
    with session():
        assert from_keywords("catch_dqn", seed=3).seed == 3
        assert compose("config").seed == 0  # with the session that was there before


def test_options_are_what_the_things_take(loader: Any) -> None:
    """The options of the task-change protocol build it."""
    config = load(loader, ["study=catch_dqn", "task_change.normaliser=clear"])
    protocol = TaskChange(replay_buffer="clear", exploration="restart", normaliser="clear")
    assert TaskChange(**config.task_change.model_dump()) == protocol


def test_letters_of_any_language_need_no_quotes() -> None:
    """Hydra's grammar alone stops at the first letter outside ASCII."""
    with session() as loader:
        assert load(loader, ["study=catch_dqn", "runs_dir=a/Läufe 1"]).runs_dir == Path("a/Läufe 1")
