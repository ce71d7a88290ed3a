"""Import: a zip of Stable-Baselines3, unpickled once for who trusts it, as a checkpoint that runs nothing when read."""

from __future__ import annotations

import shlex
import warnings
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from annotated_types import Gt, Le, MaxLen
from gymnasium.spaces import flatdim
from pydantic import ValidationError
from torch import nn

from lopgym.agents import agents
from lopgym.agents.plain import live, plain
from lopgym.record import RunFolder
from lopgym.store import CheckpointError, newest, save
from lopgym.studies.checks import WIDEST
from lopgym.studies.config import CountOrNone, entries
from lopgym.studies.foreign_zip import first_line, load_trusted, world_of
from lopgym.studies.imports import refusal
from lopgym.studies.provenance import provenance
from lopgym.studies.schema import Bool, Float, Int, Options
from lopgym.studies.whole_folder import refuse_existing

ACTIVATIONS: dict[str, type[nn.Module]] = {
    kind.__name__: kind for kind in (nn.ReLU, nn.Tanh, nn.ELU, nn.GELU, nn.LeakyReLU, nn.Mish, nn.Sigmoid, nn.SiLU)
}
NETWORK = ("hidden", "stem", "share_trunk")  # options that build our network, and say nothing of a stock one
LOST = ("what the optimizer remembers", "schedules, of which the present values were kept", "what the zip held besides")

Widths = Annotated[tuple[Annotated[Int, Gt(0), Le(WIDEST)], ...], MaxLen(64)]


class Policy(Options):
    """A stock policy, in words and numbers.

    Args:
        name: as Stable-Baselines3 calls it.
        net_arch: units of each layer, of each branch if there are two; None is its own choice.
        activation_fn: one of `ACTIVATIONS`; None is its own choice.
        ortho_init: of PPO; None is its own choice.
        share_features_extractor: of PPO; None is its own choice.
        normalize_images: whether the brightness of images is divided by 255; None is its own choice.
    """

    name: Literal["MlpPolicy", "CnnPolicy"]
    net_arch: Widths | dict[Literal["pi", "vf", "qf"], Widths] | None = None
    activation_fn: str | None = None
    ortho_init: Bool | None = None
    share_features_extractor: Bool | None = None
    normalize_images: Bool | None = None

    def arguments(self) -> dict[str, Any]:
        """Return what `policy_kwargs` is to be."""
        said = {name: value for name, value in self if name != "name" and value is not None}
        if self.activation_fn is not None:
            said["activation_fn"] = ACTIVATIONS[self.activation_fn]
        if isinstance(self.net_arch, tuple):
            said["net_arch"] = list(self.net_arch)
        return said

    def holds(self, inputs: int) -> int:
        """Return how many weights it has at least, if `inputs` numbers are observed."""
        read = inputs if self.name == "MlpPolicy" else 1  # how much convolutions leave of an image is not said
        branches = self.net_arch.values() if isinstance(self.net_arch, Mapping) else [self.net_arch or ()]
        return sum(below * above for branch in branches for below, above in pairwise((read, *branch)))


class Agent(Options):
    """What an agent is, apart from its weights.

    Args:
        kind: one of our agents, by name: its algorithm.
        env: id of its world.
        options: of the algorithm.
        policy: what its network is.
        steps: env steps that it was trained for.
        seed: with which its algorithm was made; None is none.
        exploration_rate: of DQN.
    """

    kind: str
    env: str
    options: dict[str, Any]
    policy: Policy
    steps: CountOrNone
    seed: CountOrNone | None = None
    exploration_rate: Float | None = None


@dataclass(frozen=True)
class Imported:
    """What was written: the folder."""

    path: Path

    @property
    def lines(self) -> Iterator[str]:
        """What to tell whoever asked for it."""
        yield str(self.path)
        yield f"lost: {', '.join(LOST)}"
        yield f"look at it: lopgym probe {shlex.quote(str(self.path))}"


def import_sb3(
    path: Path,
    env: str | None,
    *,
    trusted: bool = False,
    out: Path | None = None,
    allow_import: Collection[str] | None = None,
) -> Imported:
    """Read a zip of Stable-Baselines3, and write its agent as plain data and arrays, which `lopgym probe` looks into.

    Args:
        path: the zip.
        env: id of its world, which it does not say.
        trusted: say that the zip may run code, which it does when it is read; nothing of it is unpickled else.
        out: folder to make; by default `<name of the zip>-imported`, beside it.
        allow_import: packages that the id of its world may import; None allows all.

    Raises:
        ValueError: it is not trusted; or there is no such world, or it would import what is not allowed; or its policy
            is none of Stable-Baselines3's own.
        CheckpointError: it is damaged, or of an algorithm or world that does not fit.
        FileExistsError: there is something at `out` already.
        StorageError: it cannot be written.
    """
    path = Path(path)
    out = Path(out or path.with_name(f"{path.stem}-imported"))
    refuse_existing(out)
    model = load_trusted(path, env, trusted=trusted, allow_import=allow_import)
    tree = {"imported": _told(model, str(env), path).plain(), "policy": plain(model.policy.state_dict())}
    about = {
        "imported": {"file": path.name, "sha256": sha256(path.read_bytes()).hexdigest()},
        "versions": provenance("cpu")["versions"],
    }
    try:
        save(out, model.num_timesteps, tree, about=about)
    except BaseException:
        with suppress(OSError):  # an empty folder would be in the way of the next try
            out.rmdir()
        raise
    return Imported(out)


def is_imported(path: Path) -> bool:
    """Whether a folder is what `import_sb3` makes: it holds a checkpoint, and is no part of a run."""
    around = RunFolder(path.resolve().parent)
    of_a_run = RunFolder(path).config.exists() or (around.config.exists() and around.checkpoints == path.resolve())
    return not of_a_run and any(path.glob("ckpt-*"))


def open_imported(path: Path, allow_import: Collection[str] | None = ()) -> Any:
    """Return the agent in a folder of `import_sb3`, in copies of its world, whose id alone may name code.

    Args:
        path: the folder, perhaps a stranger's.
        allow_import: packages that the id of its world may import; None allows all.

    Raises:
        CheckpointError: it is damaged, or its weights are of another network than it says.
        ValueError: its world is not here, or would import what is not allowed.
    """
    torch.set_num_threads(1)
    saved, skipped = newest(path)
    if saved is None:
        raise CheckpointError(path, skipped[0] if skipped else "holds no checkpoint")
    try:
        agent = Agent.model_validate(saved.tree["imported"])
        weights = live(saved.tree["policy"], device="cpu")
        size = sum(tensor.numel() for tensor in weights.values())
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        raise CheckpointError(saved.path, f"is no imported agent: {_line(error)}") from None
    if said := refusal(agent.env, allow_import):
        raise ValueError(said)
    model = _built(agent, size, saved.path)
    try:
        model.policy.load_state_dict(weights)
    except (RuntimeError, TypeError, AttributeError) as error:
        raise CheckpointError(saved.path, f"its weights are of another network: {first_line(error)}") from None
    return model


def _built(agent: Agent, size: int, path: Path) -> Any:
    """Build the algorithm around its world, with fresh weights, no more of them than the `size` that were kept."""
    world = world_of(agent.env)
    try:
        if agent.policy.holds(flatdim(world.observation_space)) > size:
            raise ValueError("its layers are larger than its weights")
        algorithm, options = agents[agent.kind].facts["algorithm"], _options(agent.kind, agent.options)
        shape = agent.policy.arguments()
        with warnings.catch_warnings(action="ignore"):  # advice on options, which whoever trained it has had
            model = algorithm(agent.policy.name, world, **options, policy_kwargs=shape, seed=agent.seed, device="cpu")
    except (KeyError, TypeError, AssertionError, ValueError, MemoryError) as error:
        raise CheckpointError(path, f"is no imported agent: {_line(error)}") from None
    model.num_timesteps = agent.steps
    if agent.exploration_rate is not None:
        model.exploration_rate = agent.exploration_rate
    return model


def _told(model: Any, env: str, path: Path) -> Agent:
    """Tell a model in plain words and numbers.

    Raises:
        ValueError: they cannot say it: a part of it is a class of its author's, or an option is no number that is one.
    """
    kind = next(entry.name for entry in agents if isinstance(model, entry.facts["algorithm"]))
    try:
        return Agent(
            kind=kind,
            env=env,
            options=_options(kind, {name: _now(model, name) for name in _names(kind)}),
            policy=_policy(model),
            steps=model.num_timesteps,
            seed=model.seed,
            exploration_rate=getattr(model, "exploration_rate", None),
        )
    except ValueError as error:
        look = shlex.join(["lopgym", "probe", str(path), "--env", env, "--i-trust-this-file"])
        raise ValueError(f"{path}: {_line(error)}: plain data cannot say it; look at it where it is: {look}") from None


def _policy(model: Any) -> Policy:
    aliases = {kind: name for name, kind in model.policy_aliases.items()}
    said = {name: value for name, value in model.policy_kwargs.items() if not name.startswith("optimizer_")}
    if model.use_sde or type(model.policy) not in aliases:
        raise ValueError(f"its policy, a {type(model.policy).__name__}, is none that is known")
    if "activation_fn" in said:
        said["activation_fn"] = _activation(said["activation_fn"])
    return Policy(name=aliases[type(model.policy)], **said)


def _activation(kind: Any) -> str:
    if kind not in ACTIVATIONS.values():
        raise ValueError(f"its activation is {getattr(kind, '__name__', kind)}; known: {', '.join(ACTIVATIONS)}")
    return str(kind.__name__)


def _names(kind: str) -> list[str]:
    return [name for name in entries("agent")[kind].model_fields if name not in (*NETWORK, "kind")]


def _options(kind: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Hold options to the bounds that those of our agents have."""
    return entries("agent")[kind].model_validate({**said}).model_dump(include={*_names(kind)})


def _now(model: Any, name: str) -> Any:
    """Return the present value of an option: schedules say one for how much of the training is left."""
    value = model.lr_schedule if name == "learning_rate" else getattr(model, name)
    if callable(value):
        return float(value(model._current_progress_remaining))
    return getattr(value, "frequency", value)  # DQN says how often it trains as a number and a unit


def _line(error: Exception) -> str:
    """Return what is wrong in one line, of several faults the first."""
    if isinstance(error, ValidationError):
        fault = error.errors()[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"
    return first_line(error)
