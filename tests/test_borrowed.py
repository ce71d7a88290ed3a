"""Worlds behind extras: Gymnasium's own until something moves, then what they were compiled to be; refused politely."""

from __future__ import annotations

import copy
import json
import os
import pickle
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled
from typer.testing import CliRunner

import lopgym
from lopgym.envs import environments
from lopgym.envs.borrowed import Borrowed
from lopgym.envs.build import batched, single
from lopgym.studies import cli, listing
from lopgym.studies.compose import from_keywords
from lopgym.studies.run import execute
from tests.play import WORLDS, id_of, layered, random_actions, same

BORROWED = [entry.name for entry in environments if issubclass(entry.make, Borrowed)]
HERE = [world for world in BORROWED if world in WORLDS]
BODIES = [world for world in HERE if environments[world].make.extra == "mujoco"]
SCALES = [(w, n) for w in BODIES if w != "slippery_ant" for n in environments[w].make.physics_type.names()]
needs_mujoco = pytest.mark.skipif("ant" not in WORLDS, reason="needs lopgym[mujoco]")
needs_box2d = pytest.mark.skipif("lunar_lander" not in WORLDS, reason="needs lopgym[box2d]")
every_one = pytest.mark.parametrize("world", BORROWED)
every_one_here = pytest.mark.parametrize("world", HERE)


@pytest.fixture(autouse=True)
def _quiet_mujoco() -> Iterator[None]:
    """What MuJoCo says of models that are loaded without us would go into a file where the tests run."""
    if not BODIES:
        yield
        return
    import mujoco

    mujoco.set_mju_user_warning(lambda text: None)
    yield
    mujoco.set_mju_user_warning(None)


def _played(env: Any, steps: int, seed: int | None = 3) -> list[Any]:
    """All that is seen, earned and ended, in the episodes that fit into some steps."""
    rng = np.random.default_rng(0)
    said: list[Any] = [] if seed is None else [env.reset(seed=seed)[0]]
    for _ in range(steps):
        told = env.step(random_actions(env.action_space, rng, 1)[0])
        said.append(told[:4])
        if told[2] or told[3]:
            said.append(env.reset()[0])
    return copy.deepcopy(said)


@every_one_here
def test_nothing_moved_is_gymnasiums(world: str) -> None:
    """Bit for bit; and its time limit, frames a second and render modes are Gymnasium's, too."""
    ours, facts = single(world, drifts={}), environments[world].facts
    original = type(ours.unwrapped)
    assert same(_played(ours, 60), _played(original(), 60))
    home = f"{original.__module__}:{original.__name__}"
    (limit,) = {s.max_episode_steps for s in gym.registry.values() if s.entry_point == home and not s.kwargs}
    assert facts["max_episode_steps"] == limit
    assert ours.metadata["render_fps"] == ours.unwrapped.metadata["render_fps"]
    assert {"human", *ours.metadata["render_modes"]} == {*ours.unwrapped.metadata["render_modes"]}


def _times(of: Any, attribute: str, factor: float, default: str | None = None, numbers: int | None = 1) -> None:
    """Multiply the first numbers of an attribute, all for None, where it stands; or put a multiple of its default."""
    if (text := of.get(attribute, default)) is not None:
        values = [float(word) for word in text.split()]
        count = len(values) if numbers is None else numbers
        of.set(attribute, " ".join(repr(v * factor if i < count else v) for i, v in enumerate(values)))


def _edit_gravity(root: Any, value: float) -> None:
    option = root.find("option")
    x, y, _ = option.get("gravity", "0 0 -9.81").split()
    option.set("gravity", f"{x} {y} {-value}")


def _edit_mass(root: Any, value: float) -> None:
    _times(root.find("compiler"), "settotalmass", value)
    _times(_default_geom(root), "density", value, default="1000")
    for geom in root.find("worldbody").iter("geom"):
        _times(geom, "density", value)
        _times(geom, "mass", value)


def _edit_size(root: Any, value: float) -> None:
    for geom in root.find("worldbody").iter("geom"):
        if geom.get("type") != "plane":
            _times(geom, "size", value)


def _edit_friction(root: Any, value: float) -> None:
    _times(_default_geom(root), "friction", value, default="1 0.005 0.0001")
    for geom in root.find("worldbody").iter("geom"):
        _times(geom, "friction", value)


def _edit_damping(root: Any, value: float) -> None:
    for joint in root.iter("joint"):
        _times(joint, "damping", value)


def _edit_gear(root: Any, value: float) -> None:
    for motor in root.iter("motor"):
        _times(motor, "gear", value, default="1" if motor in root.find("actuator") else None)


def _edit_option(name: str) -> Any:
    return lambda root, value: root.find("option").set(name, repr(value))


def _default_geom(root: Any) -> Any:
    default = root.find("default")
    default = ElementTree.SubElement(root, "default") if default is None else default
    geom = default.find("geom")
    return ElementTree.SubElement(default, "geom") if geom is None else geom


EDITS = {
    "gravity": _edit_gravity,
    "mass_scale": _edit_mass,
    "size_scale": _edit_size,
    "friction_scale": _edit_friction,
    "damping_scale": _edit_damping,
    "gear_scale": _edit_gear,
    "density": _edit_option("density"),
    "viscosity": _edit_option("viscosity"),
}


def _numbers(model: Any) -> dict[str, Any]:
    """Return all arrays of a model and its options, and the only one of its statistics that the camera is not for."""
    return {
        prefix + name: np.asarray(value)
        for prefix, part in {"": model, "opt.": model.opt}.items()
        for name in dir(part)
        if not name.startswith("_") and isinstance(value := getattr(part, name), np.ndarray | float)
    } | {"stat.meaninertia": np.asarray(model.stat.meaninertia)}


def _without_axes(numbers: dict[str, Any]) -> dict[str, Any]:
    """Replace inertias about axes by tensors: a part as thick as wide has no axes of its own, only those of rounding.

    The boxes around parts stand along the axes, in an order that hangs on them.
    """
    del numbers["bvh_aabb"], numbers["bvh_nodeid"]
    w, x, y, z = numbers.pop("body_iquat").T
    rows = [[w * w + x * x - y * y - z * z, 2 * (x * y - w * z), 2 * (x * z + w * y)]]
    rows += [[2 * (x * y + w * z), w * w - x * x + y * y - z * z, 2 * (y * z - w * x)]]
    rows += [[2 * (x * z - w * y), 2 * (y * z + w * x), w * w - x * x - y * y + z * z]]
    turned = np.moveaxis(np.array(rows), 2, 0)
    inertia = numbers.pop("body_inertia")[:, None, :]
    return numbers | {"inertia tensor": turned * inertia @ turned.swapaxes(1, 2)}


@pytest.mark.parametrize(("world", "name"), SCALES)
@pytest.mark.filterwarnings("ignore:compiler attribute")
def test_a_moved_model_is_the_edited_file_compiled(world: str, name: str) -> None:
    """Every number of it, after a detour: the file of the body is edited by hand, and MuJoCo does the rest."""
    import mujoco

    field = environments[world].make.physics_type.__dataclass_fields__[name]
    value = 0.7 * field.default + 0.3 * field.metadata["high"]
    body = single(world, drifts={}).env
    for passing in (field.metadata["low"], value):
        body.set_physics(**{name: passing})  # type: ignore[attr-defined]
    root = ElementTree.parse(body.unwrapped.fullpath).getroot()  # type: ignore[attr-defined]
    EDITS[name](root, value)
    edited = _numbers(mujoco.MjModel.from_xml_string(ElementTree.tostring(root, encoding="unicode")))
    moved = _numbers(body.unwrapped.model)  # type: ignore[attr-defined]
    assert moved.keys() == edited.keys()
    if name == "mass_scale":
        edited, moved = _without_axes(edited), _without_axes(moved)
    for key, values in edited.items():
        np.testing.assert_allclose(moved[key], values, rtol=1e-9, atol=1e-12, err_msg=key)


@needs_mujoco
def test_back_again_is_where_it_was() -> None:
    """All parameters away and back: not a bit of the model has changed."""
    body: Any = single("humanoid", drifts={}).env
    before = {name: value.copy() for name, value in _numbers(body.unwrapped.model).items()}
    fields = type(body.physics).__dataclass_fields__
    body.set_physics(**{name: field.metadata["high"] for name, field in fields.items()})
    assert any(not np.array_equal(value, before[name]) for name, value in _numbers(body.unwrapped.model).items())
    body.set_physics(**{name: field.default for name, field in fields.items()})
    assert all(np.array_equal(value, before[name]) for name, value in _numbers(body.unwrapped.model).items())


@needs_mujoco
def test_the_slippery_ant_is_slippery() -> None:
    """Its friction is what the feet feel: in every contact with the ground, below 1 as above."""
    for friction in (0.02, 2.0):
        env: Any = single("slippery_ant", drifts={"friction_scale": friction})
        env.reset(seed=0)
        felt = set()
        for _ in range(40):
            env.step(np.zeros(8, dtype=np.float32))
            felt |= {float(contact.friction[0]) for contact in env.unwrapped.data.contact}
        assert felt == {friction}


@needs_mujoco
def test_the_default_drift_of_the_slippery_ant_is_the_papers() -> None:
    """Log-uniform on [0.02, 2], drawn anew every two million steps of the life."""
    (drift,) = environments["slippery_ant"].facts["drifts"].values()
    assert drift == {"kind": "log_uniform", "low": 0.02, "high": 2.0, "period": 2_000_000}
    env = single("slippery_ant", world_seed=1)
    seen = {env.reset(options={"clock": t})[1]["drift"]["friction_scale"] for t in (0, 1_999_999, 2_000_000, 5_000_000)}
    assert len(seen) == 3
    assert all(0.02 <= friction <= 2.0 for friction in seen)


@needs_box2d
def test_landers_fly_as_gymnasiums_of_these_arguments() -> None:
    """Gravity and wind are arguments there: bit for bit the same, and so is continuous throttle."""
    from gymnasium.envs.box2d.lunar_lander import LunarLander

    moved: list[tuple[dict[str, float], dict[str, Any]]] = [
        ({"gravity": 5.0}, {"gravity": -5.0}),
        (
            {"wind_power": 12.0, "turbulence_power": 1.0},
            {"enable_wind": True, "wind_power": 12.0, "turbulence_power": 1.0},
        ),
    ]
    for drifts, arguments in moved:
        for continuous in (False, True):
            ours = single("lunar_lander", drifts=drifts, continuous=continuous)
            assert same(_played(ours, 150), _played(LunarLander(continuous=continuous, **arguments), 150))


@needs_box2d
def test_hardcore_ground_is_gymnasiums() -> None:
    """Bit for bit, stumps and pits; a copy of it, made in the middle, goes on over the same."""
    from gymnasium.envs.box2d.bipedal_walker import BipedalWalker

    ours = single("bipedal_walker", drifts={}, hardcore=True)
    assert same(_played(ours, 40), _played(BipedalWalker(hardcore=True), 40))
    twin = pickle.loads(pickle.dumps(ours))
    assert same(_played(twin, 60, seed=None), _played(ours, 60, seed=None))
    assert not same(_played(ours, 40), _played(single("bipedal_walker", drifts={}), 40))


@needs_box2d
def test_the_engines_push_in_proportion_to_their_power() -> None:
    """Against the same step without them, of the same luck; other landers and Gymnasium's module are left alone."""
    import gymnasium.envs.box2d.lunar_lander as theirs

    def velocity(action: int, **drifts: float) -> Any:
        env = single("lunar_lander", drifts=drifts)
        env.reset(seed=5)
        return np.asarray(env.step(action)[0][2:4], dtype=np.float64)

    for action, name, power in ((2, "main_engine_power", 13.0), (1, "side_engine_power", 0.6)):
        once, twice = (velocity(action, **{name: times * power}) - velocity(0) for times in (1, 2))
        np.testing.assert_allclose(twice, 2 * once, rtol=1e-3)
        assert np.linalg.norm(once) > 1e-3
    assert (theirs.MAIN_ENGINE_POWER, theirs.SIDE_ENGINE_POWER) == (13.0, 0.6)


@needs_box2d
def test_ground_and_wind_of_the_walker_are_felt() -> None:
    """The friction of feet on the ground is sqrt(0.2 f), in contacts from before, too; the wind pushes forwards."""
    env: Any = single("bipedal_walker", drifts={})
    env.reset(seed=0)
    for _ in range(60):
        env.step(np.zeros(4, dtype=np.float32))
    env.env.set_physics(friction=0.45)
    touching = [contact.friction for contact in env.unwrapped.world.contacts if contact.touching]
    assert touching
    np.testing.assert_allclose(touching, 0.3, rtol=1e-6)
    speeds = []
    for wind in (-20.0, 0.0, 20.0):
        env = single("bipedal_walker", drifts={"wind": wind})
        env.reset(seed=0)
        speeds.append([env.step(np.zeros(4, dtype=np.float32))[0][2] for _ in range(5)][-1])
    assert speeds == sorted(speeds)
    assert len(set(speeds)) == 3


@needs_box2d
def test_an_episode_of_the_walker_does_not_hang_on_earlier_ones() -> None:
    """As Gymnasium's do: its world is used again."""
    used = single("bipedal_walker", drifts={})
    for seed in range(4):
        _played(used, 120, seed=100 + seed)
        assert same(_played(used, 120, seed=seed), _played(single("bipedal_walker", drifts={}), 120, seed=seed))


@needs_box2d
def test_wind_that_rises_in_an_episode_does_not_hang_on_earlier_ones() -> None:
    """It begins at the beginning of its course, whatever blew before."""
    rising = {"wind_power": {"kind": "steps", "values": [0.0, 20.0], "at": [10]}}
    fresh, used = single("lunar_lander", drifts=rising), single("lunar_lander", drifts=rising)
    _played(used, 300, seed=8)
    assert same(_played(used, 40), _played(fresh, 40))
    assert not same(_played(fresh, 40), _played(single("lunar_lander", drifts={}), 40))


@pytest.mark.parametrize("world", [world for world in HERE if world in ("reacher", "lunar_lander", "bipedal_walker")])
def test_all_layers_go_around_and_are_copied_along(world: str) -> None:
    """Every parameter of every layer that fits moves; a copy from the middle of it goes on exactly."""
    drifts = layered(world, 4, native=False) | environments[world].facts["drifts"]
    env = single(world, drifts=drifts)
    seen = _played(env, 25)
    assert all(np.isfinite(one[0]).all() for one in seen[1:] if isinstance(one, tuple))
    twins = [copy.deepcopy(env), pickle.loads(pickle.dumps(env)), env]
    said = [_played(twin, 25, seed=None) for twin in twins]
    assert same(said[0], said[2])
    assert same(said[1], said[2])


@every_one_here
def test_a_copy_of_what_was_never_reset(world: str) -> None:
    """It is one that was never reset."""
    env = single(world, drifts={})
    assert same(_played(copy.deepcopy(env), 5), _played(env, 5))


@every_one_here
def test_there_is_no_native_batch_and_separate_copies_need_no_asking(world: str) -> None:
    """The clock of every copy counts the steps of all; who insists on a batch is told in one line."""
    copies = lopgym.make_vec(id_of(world), 2, drifts={}, autoreset_mode="SameStep")
    assert isinstance(copies, gym.vector.SyncVectorEnv)
    assert copies.reset(seed=0)[1]["clock"].tolist() == [0, 0]
    assert copies.step(copies.action_space.sample())[4]["clock"].tolist() == [0, 0]
    assert copies.step(copies.action_space.sample())[4]["clock"].tolist() == [2, 2]
    copies.close()
    with pytest.raises(ValueError, match=f"environment '{world}' has no native batch; make_vec .* separate copies"):
        batched(2, world=world)
    with pytest.raises(gym.error.Error, match="doesn't have a vector entry point"):
        lopgym.make_vec(id_of(world), 2, vectorization_mode="vector_entry_point")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """An installation without extras."""
    for module in [name for name in sys.modules if name.startswith(("gymnasium.envs.mujoco", "gymnasium.envs.box2d"))]:
        monkeypatch.delitem(sys.modules, module)
    for module in ("mujoco", "Box2D"):
        monkeypatch.setitem(sys.modules, module, None)


@every_one
@pytest.mark.usefixtures("bare")
def test_without_the_extra_one_line_says_how_to_get_it(world: str) -> None:
    """Whoever asks, and however; the lists know it all the same."""
    extra = environments[world].make.extra
    command = rf'pip install "lopgym\[{extra}\]"'
    for make in (gym.make, gym.make_vec, lopgym.make_vec):
        with pytest.raises(DependencyNotInstalled, match=command) as error:
            make(id_of(world))
        assert "\n" not in str(error.value)
    (row,) = [row for row in listing.rows("envs") if row["name"] == world]
    assert row["observations"] == row["actions"] == f"needs lopgym[{extra}]"
    assert {one["name"] for one in row["parameters"]} == {*environments[world].make.physics_type.names()}


@pytest.mark.usefixtures("bare")
def test_without_the_extra_training_says_how_to_get_it(tmp_path: Path) -> None:
    """In one line, with the exit code of a config that cannot run."""
    words = ["train", "study=custom", "env=half_cheetah", f"runs_dir={tmp_path}"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 2
    assert 'pip install "lopgym[mujoco]"' in " ".join(result.output.split())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was trained where MuJoCo was installed."""
    agent = {"kind": "ppo", "n_steps": 16, "batch_size": 16, "n_epochs": 1}
    tiny = {"tasks": 1, "steps_per_task": 16, "probes": "none", "evaluation.every": 0, "env.n_envs": 1}
    runs = str(tmp_path_factory.mktemp("runs"))
    return execute(from_keywords("custom", env="inverted_pendulum", agent=agent, runs_dir=runs, **tiny)).path


@needs_mujoco
@pytest.mark.parametrize("words", [("probe",), ("record", "--task", "0")], ids=lambda words: words[0])
def test_without_the_extra_a_run_says_how_to_get_it(
    words: tuple[str, ...], run: Path, request: pytest.FixtureRequest
) -> None:
    """Whoever gets a run of somebody else's is told in one line, whatever it is to be done with it."""
    request.getfixturevalue("bare")
    result = CliRunner().invoke(cli.app, [*words, str(run)])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == 'error: InvertedPendulumEnv needs an extra: pip install "lopgym[mujoco]"\n'


@needs_mujoco
def test_without_a_display_a_film_says_what_to_set(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What MuJoCo would end the process for."""
    if sys.platform != "linux":
        pytest.skip("other systems have one")
    for screen in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(screen, raising=False)
    result = CliRunner().invoke(cli.app, ["record", str(run), "--task", "0"])
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "MUJOCO_GL=egl" in result.stderr


def test_importing_and_registering_import_no_simulator() -> None:
    """Not even to list what can drift."""
    code = "import sys, lopgym; from lopgym.envs import environments; [e.make.physics_type for e in environments]; "
    code += "print([name for name in sys.modules if name in ('mujoco', 'Box2D', 'pygame')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []


@needs_mujoco
def test_a_study_trains_in_a_world_without_a_batch(tmp_path: Path) -> None:
    """PPO in two separate copies of a body, one task with another physics than the other."""
    drifts = {"gravity": {"kind": "cycle", "values": [9.81, 20.0], "period": 512}}
    sizes = {"tasks": 2, "steps_per_task": 512, "report_every": 256, "probe_every": 0}
    options = {"env.n_envs": 2, "agent.n_steps": 128, "env.drifts": drifts}
    run = lopgym.run("custom", env="inverted_pendulum", probes="none", runs_dir=str(tmp_path), **sizes, **options)
    values = [line for line in run.folder.metrics.read_text().splitlines() if "drift/gravity" in line]
    assert any("20.0" in line for line in values)


@needs_mujoco
def test_who_cannot_draw_is_told_before_mujoco_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Linux without a display, and without word of how to do without one."""
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(gym.error.Error, match="set the environment variable MUJOCO_GL=egl"):
        single("ant", render_mode="rgb_array")
    single("ant").reset(seed=0)


@pytest.mark.slow
@needs_mujoco
def test_bodies_have_pictures() -> None:
    """480 pixels square, where MuJoCo can draw without a display."""
    code = "import sys, lopgym, gymnasium as gym\nfor id in sys.argv[1:]:\n"
    code += "    env = gym.make(id, render_mode='rgb_array'); env.reset(seed=0); frame = env.render()\n"
    code += "    assert frame.shape == (480, 480, 3) and frame.std() > 0, id\n    env.close()\n"
    command = [sys.executable, "-c", code, *map(id_of, BODIES)]
    drawn = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"MUJOCO_GL": "egl"})
    if "EGL" in drawn.stderr:
        pytest.skip("MuJoCo cannot draw here")
    assert drawn.returncode == 0, drawn.stderr


@pytest.mark.slow
@pytest.mark.parametrize("world", BODIES)
def test_no_corner_of_the_bounds_breaks_the_simulation(world: str) -> None:
    """All parameters at one end or the other, motors at full power to and fro: MuJoCo finds nothing to warn of."""
    fields, rng = environments[world].make.physics_type.__dataclass_fields__, np.random.default_rng(0)
    for corner in range(2 ** len(fields)):
        ends = {name: f.metadata[("low", "high")[corner >> i & 1]] for i, (name, f) in enumerate(fields.items())}
        env: Any = single(world, drifts=ends)
        env.reset(seed=corner)
        space = env.action_space
        for _ in range(120):
            action = np.where(rng.random(space.shape) < 0.5, space.low, space.high)
            seen, reward, terminated, _, _ = env.step(action)
            assert np.isfinite(seen).all()
            assert np.isfinite(reward)
            assert sum(warning.number for warning in env.unwrapped.data.warning) == 0, ends
            if terminated:
                env.reset()
