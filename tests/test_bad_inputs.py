"""Bad inputs of a config, by the command line: a code, a line for each fault that says what to write, nothing written.

A row is a kind of mistake; each of its cases is typed or written into a study as a person would. What the command line
says of runs that are there already has a table of its own.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium as gym
import pytest
import yaml
from typer.testing import CliRunner, Result

from lopgym.studies import cli
from lopgym.studies.compose import ConfigError, load, session
from tests.test_bad_inputs_runs import ROWS as WHERE_THERE_ARE_RUNS

CATCH, BANDIT, GRAVITY, CUSTOM = (
    f"study={name}" for name in ("catch_dqn", "label_bandit_ppo", "cartpole_gravity", "custom")
)
HEAD = "# @package _global_\ndefaults: [catch_dqn]\n"
TINY = "tasks=1 steps_per_task=80 agent.learning_starts=20 evaluation.every=0"  # of catch_dqn
BRIEF = "tasks=1 steps_per_task=32 env.n_envs=1 agent.n_steps=32 agent.batch_size=32"  # of a study with PPO
FILE, ONE_LINE = Path("mine", "study", "mine.yaml"), 1000  # characters of a line that can still be read
QUICK, PEAK = 1.0, 100 * 2**20  # seconds and bytes that the refusal of a hostile file takes at most


@dataclass(frozen=True)
class Case:
    """One input and what is said of it.

    Args:
        words: of the command line.
        said: a pattern for each line on standard error.
        code: that the command exits with.
        file: a study of the user's, if there is one.
        config: what the run that was trained says of some keys, if there is one.
        size: bytes to which the file is stretched.
    """

    words: tuple[str, ...]
    said: tuple[str, ...]
    code: int = 2
    file: bytes | None = None
    config: tuple[tuple[str, Any], ...] = ()
    size: int = 0


@dataclass(frozen=True)
class Row:
    """One kind of bad input.

    Args:
        what: in short.
        cases: of it.
        tier: mark of the test; "" is the fast tier.
        prepare: makes the machine such that the input is bad.
    """

    what: str
    cases: tuple[Case, ...]
    tier: str = "matrix"
    prepare: Callable[[pytest.MonkeyPatch], None] = lambda _: None


def _typed(words: str, *said: str) -> Case:
    """Words, parted by blanks outside of braces; what begins in braces is one word."""
    return Case(tuple(re.findall(r"[^\s{]+(?:\{.*\})?", words)), said)


def _accepted(words: str, *said: str, **config: Any) -> Case:
    said = tuple(rf"^note: .*{line}" for line in said)
    return Case((*_typed(words).words, "--quiet"), said, 0, config=tuple(config.items()))


def _written(text: str | bytes, *said: str) -> Case:
    raw = text.encode() if isinstance(text, str) else text
    return Case(("study=mine",), tuple(rf"^error: {re.escape(str(FILE))}{line}" for line in said), file=raw)


def _options(study: str, said: str, *options: str) -> tuple[Case, ...]:
    """Each of several options is refused, its own words first: what came, then what is allowed."""
    return tuple(_typed(f"{study} {option}", rf"^error: {re.escape(option)}: .*{said}") for option in options)


def _drift(schedule: str, said: str) -> Case:
    return _typed(f"{GRAVITY} env.drifts.gravity={{{schedule}}}", said)


def _bomb() -> str:
    """Nine references to nine references to ...: a thousand million values, were they followed."""
    names = "abcdefghij"
    lines = [f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in pairwise(names)]
    return "\n".join(["a: &a [1]", *lines])


class _Nested(gym.Env[Any, Any]):
    """A world that shows several things under names."""

    observation_space = gym.spaces.Dict(where=gym.spaces.Discrete(3), speed=gym.spaces.Box(0, 1, (2,)))
    action_space = gym.spaces.Discrete(2)


def _with_nested(patch: pytest.MonkeyPatch) -> None:
    spec = gym.envs.registration.EnvSpec("Nested-v0", entry_point=_Nested, disable_env_checker=True)
    patch.setitem(gym.registry, "Nested-v0", spec)


def _without_extras(patch: pytest.MonkeyPatch) -> None:
    """MuJoCo and Box2D are as if they had never been installed; Gymnasium has to look for them again."""
    for name in [name for name in sys.modules if name.startswith(("gymnasium.envs.mujoco", "gymnasium.envs.box2d"))]:
        patch.delitem(sys.modules, name)
    for name in ("mujoco", "Box2D"):
        patch.setitem(sys.modules, name, None)


def _with_little_memory(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("lopgym.studies.memory.available", lambda: 2.0**30)


RULE = r"is no folder's name: at most 100 letters, digits and .*; such as "
POSITIVE, FINITE = r"greater than 0 \(got ", r"Input should be a finite number \(got "
SHARE = r"less than or equal to 1 \(got "
ROOM = r"GiB of memory, the run .*GiB in all, and 1\.0 GiB are available"
NAMES = {"../x": "x", "/abs": "abs", "a/b": "a-b", "läuf": "l-uf", "..": "mine", "a" * 101: "a" * 100}  # offered
BOMBS = {
    "aliases": _written(_bomb(), *[r":\d+:\d+: the (anchor|alias) [&*]\w"] * 20),
    "depth": _written(f"a: {'[' * 3000}\n", r":1:\d+: nested more than 50 deep"),
    "deep mappings": _written("".join(f"{' ' * n}a:\n" for n in range(200)), r":\d+:\d+: nested more than 50 deep"),
    "a tag": _written("a: !!python/object/apply:os.system ['touch ran']\n", r":1:4: the tag !!python/object/apply"),
    "size": Case(("study=mine",), (r"mine\.yaml: 1,073,741,824 bytes; at most 1,048,576",), file=b"a: 1\n", size=2**30),
}

ROWS: dict[int, Row] = {
    1: Row(
        "an unknown key",
        (
            _typed(f"{CATCH} agent.learnig_rate=1", "learnig_rate=1: unknown option; did you mean 'learning_rate'"),
            _written(
                f"{HEAD}agent: {{learnig_rate: 1}}\ntaskz: 3\n",
                ":3:9: agent.learnig_rate: unknown option; did you mean 'learning_rate'",
                ":4:1: taskz: unknown option; did you mean 'tasks'",
            ),
        ),
        "slow",
    ),
    2: Row(
        "a key given twice",
        (_written(f"{HEAD}tasks: 2\nseed: 1\ntasks: 3\n", ":5:1: 'tasks' a second time; it stands in line 3 already"),),
        "",
    ),
    3: Row(
        "the wrong type",
        (
            _written(
                f"{HEAD}env: {{n_envs: '4'}}\nagent: {{hidden: 3}}\ntasks: [3]\n",
                r":3:7: env\.n_envs: .*should be a number, not text.*\(got '4'\)",
                r":4:9: agent\.hidden: .*valid tuple \(got 3\)",
                r":5:1: tasks: .*valid integer \(got \[3\]\)",
            ),
        ),
        "slow",
    ),
    4: Row(  # what stock YAML takes for text is a number here
        "a number without a point",
        (
            _accepted(f"{CATCH} {TINY} agent.learning_rate=3e-4", agent__learning_rate=0.0003),
            Case(
                ("study=mine", *TINY.split(), "--quiet"),
                (),
                0,
                f"{HEAD}agent: {{learning_rate: 3e-4}}\n".encode(),
                (("agent__learning_rate", 0.0003),),
            ),
        ),
    ),
    5: Row(
        "a step size that is none",
        (
            *_options(CATCH, POSITIVE, "agent.learning_rate=-1", "agent.learning_rate=0"),
            *_options(CATCH, FINITE, "agent.learning_rate=nan", "agent.learning_rate=inf"),
            *_options(CATCH, r"1e\+09 is no step size that learns anything; at most 10", "agent.learning_rate=1e9"),
        ),
    ),
    6: Row(
        "copies of a world: none, or more than there is room for",
        (
            *_options(CATCH, POSITIVE, "env.n_envs=0", "env.n_envs=-1"),
            *_options(CATCH, r"less than or equal to 65536 \(got 1000000\)", "env.n_envs=1000000"),
            _typed(
                f"{CUSTOM} env.id=CartPole-v1 env.n_envs=8192 agent.n_steps=8192 steps_per_task=67108864",
                rf"^error: agent\.n_steps=8192: 8,192 steps of all copies take 3\.0 {ROOM}; there is room for [\d,]+$",
            ),
            _typed(
                f"{CATCH} agent.buffer_size=4000000 tasks=4000 steps_per_task=1000",
                rf"^error: agent\.buffer_size=4000000: 4,000,000 transitions take 3\.9 {ROOM}; there is room for 1,\d",
            ),
        ),
        "slow",
        _with_little_memory,
    ),
    7: Row(  # the length of a run is tasks x steps_per_task
        "a run without steps",
        _options(CATCH, POSITIVE, "tasks=-5", "tasks=0", "steps_per_task=-5", "steps_per_task=0"),
    ),
    8: Row(  # never rounded: a batch would hold two tasks
        "a task that is no multiple of a rollout",
        (
            _typed(f"{CATCH} env.n_envs=3", r"800 is no multiple of .* 3 steps .* nearest: 798 or 801$"),
            _typed(f"{BANDIT} steps_per_task=100", r"^error: steps_per_task=100: .* nearest: 256$"),
        ),
        "",
    ),
    9: Row(
        "a discount beyond 1, or no number",
        (
            *_options(CATCH, SHARE, "agent.gamma=1.5"),
            *_options(CATCH, r"greater than or equal to 0 \(got ", "agent.gamma=-0.1"),
            *_options(CATCH, FINITE, "agent.gamma=nan"),
            *_options(BANDIT, SHARE, "agent.gamma=1.5", "agent.gae_lambda=1.1"),
        ),
    ),
    10: Row("a clip that cuts all", _options(BANDIT, POSITIVE, "agent.clip_range=-0.2", "agent.clip_range=0")),
    11: Row(
        "a batch larger than a rollout",
        _options(BANDIT, "257 transitions, but a rollout has 256$", "agent.batch_size=257"),
    ),
    12: Row(
        "a batch larger than the replay buffer",
        _options(CATCH, "2001 transitions, but the buffer keeps 2000$", "agent.batch_size=2001"),
    ),
    13: Row(
        "an agent that never learns",
        (
            *_options(CATCH, "before the first update, but the run has 19200$", "agent.learning_starts=19200"),
            *_options(CATCH, "random steps in each task, but a task has 800$", "agent.learning_starts=900"),
        ),
    ),
    14: Row(
        "exploration beyond certainty",
        _options(
            CATCH,
            SHARE,
            "agent.exploration_fraction=5",
            "agent.exploration_initial_eps=2",
            "agent.exploration_final_eps=2",
        ),
    ),
    15: Row("a target beyond the network", _options(CATCH, SHARE, "agent.tau=7")),
    16: Row("no pass over a rollout", _options(BANDIT, POSITIVE, "agent.n_epochs=-1", "agent.n_epochs=0")),
    17: Row(
        "nothing to learn from",
        (*_options(CATCH, POSITIVE, "agent.train_freq=0"), *_options(BANDIT, POSITIVE, "agent.n_steps=0")),
    ),
    18: Row(
        "a seed that is none",
        (
            *_options(CATCH, r"greater than or equal to 0 \(got -1\)", "seed=-1"),
            *_options(CATCH, r"less than 4294967296 \(got 1099511627776\)", f"seed={2**40}"),
            *_options(CATCH, r"valid integer, .*\(got 'abc'\)", "seed=abc"),
            *_options(CATCH, r"valid integer, .*\(got 1\.5\)", "seed=1.5"),
        ),
    ),
    19: Row(
        "a number of 400 digits",
        (
            _typed(f"{CATCH} seed={'1' * 400}", r"^error: seed=1{55}\.\.\.: a number of 400 digits; at most 64$"),
            _written(f"{HEAD}seed: {'1' * 400}\n", ":3:7: a number of 400 characters; at most 64"),
        ),
        "",
    ),
    20: Row(
        "an agent that cannot act in the world",
        (_typed(f"{CUSTOM} agent=dqn env.id=Pendulum-v1", "dqn takes Discrete actions, not Box; agent=ppo does"),),
        "slow",
    ),
    21: Row(  # the agents have one policy class; what it reads is a matter of the world and the stem
        "observations of several parts",
        (
            _typed(f"{CUSTOM} env.id=Nested-v0", r"observation space is Dict\(.*; agents take Box, Discrete, Multi"),
            _typed(f"{CUSTOM} env.id=Blackjack-v1", r"observation space is Tuple\(.*; agents take Box, Discrete"),
            _typed(f"{CUSTOM} env.id=CartPole-v1 agent.stem=MlpPolicy", "no stem named 'MlpPolicy'; known: conv, mlp"),
        ),
        "slow",
        _with_nested,
    ),
    22: Row(  # a name without its version is taken for the newest, so that it may be offered
        "a misspelt world",
        (
            _typed(f"{CUSTOM} env.id=CartPol-v1", r"^error: env\.id=CartPol-v1: .*[Dd]id you mean: `CartPole`"),
            _typed(f"{CUSTOM} env.id=cartpole-v1", r"^error: env\.id=cartpole-v1: .*[Dd]id you mean: `CartPole`"),
            _typed(f"{CUSTOM} env=cartpol", "^error: env=cartpol: no such env; did you mean 'cartpole'"),
        ),
        "slow",
    ),
    23: Row(
        "a world without its version is pinned",
        (_accepted(f"{CUSTOM} {BRIEF} env.id=CartPole", env__id="CartPole-v1"),),
    ),
    24: Row(  # Gymnasium still makes some old ones, such as CartPole-v0, and so do we: with its warning
        "a version that there is not, or not any more",
        (
            _typed(f"{CUSTOM} env.id=CartPole-v9", r"^error: env\.id=.*`v9` for .*`CartPole` .*\[ `v0`, `v1` \]"),
            _typed(f"{CUSTOM} env.id=LunarLander-v2", "deprecated.*`LunarLander-v3` instead"),
            _typed(f"{CUSTOM} env.id=lopgym/Catch-v7", r"`v7` for environment `lopgym/Catch` .*\[ `v0` \]"),
        ),
    ),
    25: Row(
        "a world that would import a package",
        (
            _typed(f"{CUSTOM} env.id=pkg:Env-v0", "would import pkg; allow it with --allow-import pkg$"),
            _typed(
                f"{CUSTOM} env=task_sequence env.ids=[CartPole-v1,pkg:Env-v0]",
                r"^error: env\.ids=.*would import pkg; allow it with --allow-import pkg$",
            ),
        ),
    ),
    26: Row(
        "an extra that is not installed",
        (
            _typed(f"{CUSTOM} env=half_cheetah", r"needs an extra: pip install \"lopgym\[mujoco\]\""),
            _typed(f"{CUSTOM} env=lunar_lander", r"needs an extra: pip install \"lopgym\[box2d\]\""),
            _typed(f"{CUSTOM} env.id=HalfCheetah-v5", r"^error: env\.id=.* is not installed, .*pip install"),
            _typed(f"{CUSTOM} env.id=LunarLander-v3", r"^error: env\.id=.* is not installed, .*pip install"),
        ),
        "slow",
        _without_extras,
    ),
    27: Row(
        "a parameter that cannot drift",
        (
            _typed(f"{GRAVITY} env.drifts.gravty=3", "no parameter 'gravty' can drift here; did you mean 'gravity'"),
            _typed(f"{GRAVITY} env.drifts.zzz=3", "no parameter 'zzz' can drift here; known: .*gravity, .*, masspole,"),
        ),
    ),
    28: Row(
        "a value that no physics has",
        (
            _typed(f"{GRAVITY} env.drifts.length=0", r"at step 0: length=0\.0 is outside \[0\.05, 5\.0\] m"),
            _typed(f"{GRAVITY} env.drifts.masspole=0", r"at step 0: masspole=0\.0 is outside \[0\.005, 10\.0\] kg"),
            _drift("kind: steps, values: [9.8, 200], at: [100]", r"at step 100: gravity=200\.0 is outside \[0\.1, 50"),
        ),
    ),
    29: Row(
        "tasks that overlap",
        (
            _drift(
                "kind: windows, inside: 3, outside: 9.8, starts: [0, 500], stops: [600, 800]",
                "the one from 500 must not begin before that from 0 ends, at 600$",
            ),
        ),
        "",
    ),
    30: Row(  # a schedule may go on behind the end of a run, or no run could be cut short; it is noted
        "tasks with a gap, out of order, empty, or behind the end",
        (
            _drift("kind: steps, values: [9, 5, 3], at: [100]", r"3 values need 2 steps `at`, not \(100,\)"),
            _drift("kind: steps, values: [9, 5, 3], at: [200, 100]", r"at=\(200, 100\) must be positive and rising"),
            _drift("kind: cycle, values: [], period: 100", r"gravity\.values: .*at least 1 item .*\(got \[\]\)"),
            _drift("kind: cycle, values: [3], period: 0", rf"gravity\.period: .*{POSITIVE}0\)"),
            _drift("kind: window, inside: 3, outside: 9, start: 50, stop: 20", "start=50 must be before stop=20$"),
            _accepted(
                f"{GRAVITY} {BRIEF} env.drifts.gravity={{kind: steps, values: [9, 5], at: [9000]}}",
                r"env\.drifts\.gravity: the run ends at step 32, before what changes at 9,000$",
                env__drifts__gravity__at=[9000],
            ),
        ),
        "slow",
    ),
    31: Row(  # observations are padded to a common length; actions cannot be
        "tasks of different spaces",
        (
            _typed(
                f"{CUSTOM} env=task_sequence env.ids=[CartPole-v1,Pendulum-v1]",
                r"not Discrete\(2\) of CartPole-v1, Box\(-2\.0, 2\.0, \(1,\), float32\) of Pendulum-v1",
            ),
        ),
        "",
    ),
    32: Row(
        "a file that is no mapping",
        (
            _written("", ":1:1: it is empty; a config is a mapping"),
            _written("# nothing\n", ":2:1: it is empty; a config is a mapping"),
            _written("- a\n", ":1:1: a list; a config is a mapping"),
            _written("hello\n", ":1:1: only the value 'hello'; a config is a mapping"),
        ),
        "",
    ),
    33: Row("a file that would burst", tuple(BOMBS.values()), ""),
    34: Row(
        "what an editor does not show",
        (
            _written(b"a: 1\nb: caf\xe9\n", ":2:7: the byte 0xE9 is not UTF-8"),
            _written(b"\xef\xbb\xbftasks: 3\n", ":1:1: a byte order mark"),
            _written(b"a:\n\tb: 1\n", ":2:1: indented by a tab; indent by spaces"),
            _written(b"a: x\0y\n", r":1:5: the control character U\+0000"),
        ),
        "",
    ),
    35: Row(
        "a name that is no folder's",
        (
            *(_typed(f"{CATCH} variant={name}", rf"^error: variant=.*{RULE}'{NAMES[name]}'$") for name in NAMES),
            _typed(
                f"{CATCH} variant=con", "'con' is a device of Windows and no folder's name there; such as 'my-con'$"
            ),
        ),
    ),
}


def _tree(folder: Path) -> dict[str, str]:
    """Say what every file below a folder holds, runs aside."""
    found = {}
    for path in folder.rglob("*"):
        about = path.stat()
        unread = path.is_dir() or about.st_size > 2**24
        held = str(about.st_mtime_ns) if unread else hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = f"{about.st_mode} {about.st_size} {held}"
    return found


def _command(case: Case) -> tuple[str, ...]:
    """Write the case's file, and return the words that train it."""
    if case.file is None:
        return ("train", *case.words)
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_bytes(case.file)
    if case.size:
        os.truncate(FILE, case.size)
    return ("train", "--config-dir", str(FILE.parents[1]), *case.words)


def _survives(case: Case) -> None:
    """Run the command, and hold it to the case."""
    words, before = _command(case), _tree(Path.cwd())
    result = CliRunner().invoke(cli.app, list(words))
    after = _tree(Path.cwd())
    told = f"{words}: {result.exit_code}: {result.stderr}"
    assert result.exit_code == case.code, told
    assert result.exception is None or isinstance(result.exception, SystemExit), told
    assert "Traceback" not in result.output, told
    lines = result.stderr.splitlines()
    assert len(lines) == len(case.said), told
    assert all(line.startswith("error: " if case.code else "note: ") and len(line) < ONE_LINE for line in lines), told
    for pattern in case.said:
        assert any(re.search(pattern, line) for line in lines), f"{told}: not {pattern}"
    _left(case, result, before, after)


def _left(case: Case, result: Result, before: dict[str, str], after: dict[str, str]) -> None:
    """Nothing is written by what is refused; what is taken says in its folder what it was taken for."""
    if case.code:
        assert after == before
        return
    assert {name: held for name, held in after.items() if name.partition("/")[0] != "runs"} == before
    config = yaml.safe_load(Path(result.stdout.splitlines()[0], "config.yaml").read_text())
    for key, value in case.config:
        held = config
        for name in key.split("__"):
            held = held[name]
        assert held == value, key


def _parameter(number: int, row: Row) -> Any:
    marks = [getattr(pytest.mark, row.tier)] if row.tier else []
    return pytest.param(row, id=f"{number}-{row.what.replace(' ', '_')}", marks=marks)


@pytest.mark.fault("F11")
@pytest.mark.parametrize("row", [_parameter(number, row) for number, row in ROWS.items()])
def test_a_bad_input_is_refused_in_one_line(row: Row, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its code, one line for each fault with what came and what is allowed, no traceback, no file changed."""
    row.prepare(monkeypatch)
    for number, case in enumerate(row.cases):
        (here := tmp_path / str(number)).mkdir()
        monkeypatch.chdir(here)
        _survives(case)


@pytest.mark.fault("F11")
def test_the_table_is_whole(survived: Callable[[int], None]) -> None:
    """Each kind of bad input has a row, here or where there are runs already; this breaks nothing."""
    assert {*ROWS, *WHERE_THERE_ARE_RUNS} == {*range(1, 49)}
    assert not {*ROWS} & {*WHERE_THERE_ARE_RUNS}
    assert all(row.cases for row in ROWS.values())
    survived(0)


def test_faults_of_a_file_and_of_words_are_told_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to run five times to find five faults; each is told where it was written."""
    monkeypatch.chdir(tmp_path)
    text = f"{HEAD}sede: 1\nagent:\n  gamma: 2\n  hidden: [0]\nmitigation: {{reod: {{tau: 1}}}}\n"
    places = (":3:1: sede", r":5:3: agent\.gamma", r":6:12: agent\.hidden\.0", r":7:14: mitigation\.reod")
    written = _written(text, *places)
    words = ("tasks=0", "env.row=3")
    _survives(
        Case((*written.words, *words), (*written.said, *(f"^error: {word}: " for word in words)), file=written.file)
    )


def test_probes_that_come_in_a_set_are_those_that_can_be_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """A world of continuous actions has no preferences between actions: that is noted, or refused if asked by name."""
    pendulum = [CUSTOM, "env.id=Pendulum-v1"]
    with session() as loader:
        assert set(load(loader, [*pendulum, "probes=[standard,escape_rate]"]).probes) >= {"srank", "escape_rate"}
        assert "policy_entropy" not in load(loader, [*pendulum, "probes=all"]).probes
        assert re.search("^note: probes: .*policy_entropy.* Discrete.* Box.*: left out$", _last_line(capsys))
        with pytest.raises(ConfigError, match=r"^probes=srank,policy_entropy: policy_entropy can be measured where"):
            load(loader, [*pendulum, "probes=[srank,policy_entropy]"])
        assert "policy_entropy" in load(loader, [CUSTOM, "env.id=CartPole-v1"]).probes
        assert _last_line(capsys) == ""


def _last_line(capsys: pytest.CaptureFixture[str]) -> str:
    return (capsys.readouterr().err.splitlines() or [""])[-1]


def test_checkpoints_that_nothing_could_go_on_from_are_refused_at_the_start() -> None:
    """Gymnasium's walker lives on in the world of its earlier episodes; without checkpoints it can be trained."""
    pytest.importorskip("Box2D")
    said = r"checkpoint\.every: BipedalWalker(Hardcore)?-v3 goes on .* checkpoint\.every=0, or env\.id=lopgym/Bipedal"
    with session() as loader:
        for walker in ("BipedalWalker-v3", "BipedalWalkerHardcore-v3"):
            words = [CUSTOM, "probes=none", f"env.id={walker}"]
            with pytest.raises(ConfigError, match=said):
                load(loader, words)
            load(loader, [*words, "checkpoint.every=0"])
        for other in ("lopgym/BipedalWalker-v0", "LunarLander-v3"):
            load(loader, [CUSTOM, "probes=none", f"env.id={other}"])


TOLD = """import sys
from pathlib import Path
from lopgym.studies.cli import app
try:
    app()
finally:
    print(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.fault("F11")
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read where Linux says it")
@pytest.mark.parametrize("name", BOMBS)
def test_a_file_that_would_burst_takes_no_time_and_no_memory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, that says what it took at most: Python and what is imported before a file is read."""
    monkeypatch.chdir(tmp_path)
    words = [sys.executable, "-c", TOLD, *_command(BOMBS[name])]
    process = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert process.returncode == 2
    assert process.stderr.startswith("error: ")
    assert int(process.stdout.split()[1]) * 1024 < PEAK
    started = time.process_time()
    _survives(BOMBS[name])
    assert time.process_time() - started < QUICK
