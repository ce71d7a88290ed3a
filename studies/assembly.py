"""Assembly: chosen entries and values put together into one config, with every fault that turns up on the way."""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import yaml
from hydra import compose
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from lopgym.registry import nearest
from lopgym.strict_yaml import MOST_VALUES
from lopgym.studies.checks import check, pinned
from lopgym.studies.config import Config, model
from lopgym.studies.faults import ConfigError, Fault, faults_of, told
from lopgym.studies.places import Places
from lopgym.studies.request import MANY, ONE, Choice, Request, Value
from lopgym.studies.variant import describe

NODES = (*ONE[1:], *MANY)  # the groups that leave a node in the config
# A mapping given for these, or inside, replaces what was there.
_REPLACED = ("env.drifts.", "env.clocks.", "env.trigger.", "env.kwargs.")
_TRIGGER = re.compile(r"mitigation\.\w+\.when(\.|$)")  # and for these
MOST_JOINED = 8  # values that hold several interpolations: more could be made to grow without end
_REFUSALS = (HydraException, OmegaConfBaseException, yaml.YAMLError, ValueError, OSError)


def assemble(loader: Any, request: Request, allow_import: Collection[str] | None) -> Config:
    """Compose and check one config.

    Raises:
        ConfigError: with every fault. What hangs on an entry that does not exist is not judged.
    """
    choices, lines = _known(loader, request.choices)
    if not any(choice.group == "study" for choice in choices):
        raise ConfigError(lines or _no_study(loader, request.values))
    places = Places(loader, Request(tuple(choices), request.values))
    base = _composed(choices)
    config = _with_values(base, request.values)
    data = _resolved(config, places)
    faults = [*_foreign_nodes(data), *_idle(loader, data, request.values)]
    data |= {"study": _study(choices), "variant": data.get("variant") or _variant(choices, base, config)}
    built = _validated(data, faults)
    unjudged = {choice.group for choice in request.choices} - {choice.group for choice in choices}
    if built is not None and not lines:
        faults += check(built, allow_import)
    faults = [fault for fault in faults if fault[0][0] not in unjudged]
    lines += told(_without_echoes(faults, _plain(config)), places.of)
    if lines or built is None:
        raise ConfigError(lines)
    return pinned(built)


def _known(loader: Any, choices: Sequence[Choice]) -> tuple[list[Choice], list[str]]:
    """Return the choices that exist, and what to say of the others."""
    missing = {choice: [n for n in choice.names if not _exists(loader, choice.group, n)] for choice in choices}
    said = [
        f"{choice.said}: no such {choice.group}; {nearest(name, loader.get_group_options(choice.group))}"
        for choice, names in missing.items()
        for name in names
    ]
    return [choice for choice, names in missing.items() if not names], said


def _exists(loader: Any, group: str, name: str) -> bool:
    return name in loader.get_group_options(group)


def _listed(loader: Any, group: str) -> str:
    return ", ".join(loader.get_group_options(group))


def _no_study(loader: Any, values: Sequence[Value]) -> Iterator[str]:
    """Say that a study is needed, and first which words may have been meant for something else."""
    known = {*Config.model_fields}
    for value in values:
        if (top := value.key.partition(".")[0]) not in known:
            yield f"{value.said}: unknown option; {nearest(top, known)}"
    yield f"study: say which, study=NAME; known: {_listed(loader, 'study')}"


def _study(choices: Sequence[Choice]) -> str:
    return next(choice.names[0] for choice in choices if choice.group == "study")


def _composed(choices: Sequence[Choice]) -> DictConfig:
    try:
        return compose("config", overrides=[choice.line for choice in choices])
    except _REFUSALS as error:
        raise ConfigError([_plainly(error)]) from None


def _with_values(base: DictConfig, values: Sequence[Value]) -> DictConfig:
    """Set values by key. Hydra would stop at the first unknown one; here they all go in, for pydantic to judge."""
    config, faults = copy.deepcopy(base), []
    for value in values:
        whole = f"{value.key}.".startswith(_REPLACED) or _TRIGGER.match(value.key) is not None
        try:
            OmegaConf.update(config, value.key, value.value, merge=not whole, force_add=True)
        except _REFUSALS as error:
            faults.append(f"{value.said}: {_plainly(error)}")
    if faults:
        raise ConfigError(faults)
    return config


def _resolved(config: DictConfig, places: Places) -> dict[str, Any]:
    """Follow the interpolations, if that comes to an end."""
    if sum(text.count("${") > 1 for text in _texts(_plain(config))) > MOST_JOINED:
        raise ConfigError([f"more than {MOST_JOINED} values are put together from several interpolations, ${{KEY}}"])
    try:
        if _left(config, MOST_VALUES) < 0:
            raise ConfigError([f"the interpolations, ${{KEY}}, make more than {MOST_VALUES:,} values"])
        data: Any = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        said = str(error).partition("\n")[0]
        path = tuple(error.full_key.split(".")) if error.full_key else ("interpolation",)
        raise ConfigError(told([(path, said)], places.of)) from None
    except RecursionError:
        raise ConfigError(["an interpolation, ${KEY}, stands inside of what it refers to"]) from None
    return data  # type: ignore[no-any-return]  # the top of a config is a mapping


def _plain(config: DictConfig) -> Any:
    """Return a config before interpolation."""
    return OmegaConf.to_container(config, resolve=False)


def _texts(data: Any) -> Iterator[str]:
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict | list):
        for inner in data.values() if isinstance(data, dict) else data:
            yield from _texts(inner)


def _left(node: Any, values: int) -> int:
    """Return how many of `values` are left when all of `node` is counted; what is referred to counts as what it is."""
    if not isinstance(node, DictConfig | ListConfig) or node._is_none():
        return values - 1
    keys: Iterable[Any] = node if isinstance(node, DictConfig) else range(len(node))
    for key in keys:
        values = values if OmegaConf.is_missing(node, key) else _left(node[key], values)
        if values < 0:
            break
    return values


def _without_echoes(faults: Sequence[Fault], data: Any) -> list[Fault]:
    """Leave out faults of values that only refer to a key that is at fault itself."""
    keys = {".".join(path) for path, _ in faults}
    return [(path, said) for path, said in faults if _reference(data, path) not in keys]


def _reference(data: Any, path: tuple[str, ...]) -> str:
    """Return KEY if the value at `path` is written as `${KEY}`, else nothing."""
    for key in path:
        data = data.get(key) if isinstance(data, dict) else None
    return data[2:-1] if isinstance(data, str) and data.startswith("${") and data.endswith("}") else ""


def _plainly(error: Exception) -> str:
    """Take the search path off Hydra's messages, and tell how a file chooses where one tried to do it by a value."""
    text = " ".join(str(error).partition("Config search path")[0].split())
    return f"{text} ({_HOW_TO_CHOOSE})" if "Cannot merge" in text else text


_HOW_TO_CHOOSE = "a file chooses in its list `defaults:`, with `- override /GROUP: NAME`"


def _foreign_nodes(data: dict[str, Any]) -> Iterator[Fault]:
    """Find groups that hold what no choice puts there."""
    if data.pop("study", None) is not None:
        yield ("study",), "a study's file begins with the line `# @package _global_`, and a study has no options"
    for group in NODES:
        if not isinstance(data.get(group), dict):
            data.pop(group, None)
            yield (group,), f"nothing is chosen: {group}=NAME, or {_HOW_TO_CHOOSE}"


def _idle(loader: Any, data: dict[str, Any], values: Sequence[Value]) -> Iterator[Fault]:
    """Drop entries that a study tuned and nobody chose: they have no `kind`, which only chosen entries bring."""
    for group in MANY:
        stack = data.get(group, {})
        idle = [name for name, options in stack.items() if isinstance(options, dict) and "kind" not in options]
        data[group] = {name: options for name, options in stack.items() if name not in idle}
        for name in idle:
            if not _exists(loader, group, name):
                yield (group, name), f"no such {group}; {nearest(name, loader.get_group_options(group))}"
            elif any(f"{value.key}.".startswith(f"{group}.{name}.") for value in values):
                here, wanted = _choice(group, [*data[group]]), _choice(group, [*data[group], name])
                yield (group, name), f"{name} is not in {here}; write {wanted}"


def _choice(group: str, names: Sequence[str]) -> str:
    """Say a choice as one would type it."""
    return f"'{group}=[{','.join(names)}]'" if len(names) > 1 else f"{group}={','.join(names) or 'none'}"


def _validated(data: dict[str, Any], faults: list[Fault]) -> Config | None:
    """Validate, or add to `faults`."""
    known = {path for path, _ in faults}
    try:
        return model().model_validate(data)
    except ValidationError as error:
        faults += [(path, said) for path, said in faults_of(error, data) if path not in known]
        return None


def _variant(choices: Sequence[Choice], base: DictConfig, config: DictConfig) -> str:
    """Name the departure from the study, by values as they stand before interpolation: one cause, one mention."""
    before, after = _chosen(base), _chosen(config)
    return describe(after, before, _elsewhere(choices, before))


def _elsewhere(choices: Sequence[Choice], before: dict[str, Any]) -> list[str]:
    """Say which entries are chosen that the study would not choose, mitigations excepted."""
    others = [choice for choice in choices if choice.group not in ("study", "mitigation")]
    if not others:
        return []  # and save half the time of a config
    study = _chosen(_composed([choice for choice in choices if choice.group == "study"]))
    return [f"{c.group}={'+'.join(c.names)}" for c in others if before.get(c.group) != study.get(c.group)]


def _chosen(config: DictConfig) -> dict[str, Any]:
    """Return a composed config before interpolation, without idle entries."""
    data = _plain(config)
    for group in MANY:
        data[group] = {k: v for k, v in (data.get(group) or {}).items() if isinstance(v, dict) and "kind" in v}
    return data  # type: ignore[no-any-return]  # the top of a config is a mapping
