"""Compose: files, groups and overrides (Hydra) to one checked config (pydantic)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from pydantic import ValidationError

from lopgym.studies import request
from lopgym.studies.assembly import NODES, assemble
from lopgym.studies.config import Config, entries, model
from lopgym.studies.faults import ConfigError, faults_of, told
from lopgym.studies.imports import imports
from lopgym.studies.measurable import measurable
from lopgym.studies.notices import notice
from lopgym.studies.request import MANY, Request
from lopgym.studies.schema import defaults
from lopgym.studies.strict_source import check_folders, document, near, search_path
from lopgym.studies.unmet import unmet

__all__ = ["Config", "ConfigError", "from_file", "from_keywords", "from_plain", "load", "session", "variant_name"]


@contextmanager
def session(*dirs: Path) -> Iterator[Any]:
    """Open the configs: the folders `dirs` first, then the package's, then an entry for each registered thing.

    Hydra's own state is global; a session inside another, or inside an application of Hydra, leaves that as it was.

    Yields:
        Hydra's config loader, for `load`.

    Raises:
        ConfigError: a file of `dirs` is not strict YAML, or a preset has the name of a registered thing.
    """
    check_folders(dirs)  # first: what follows imports torch
    _store_entries()
    around = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("lopgym.configs", version_base="1.3"):
            yield _loader(dirs)
    finally:
        GlobalHydra.instance().hydra = around


def _loader(dirs: Sequence[Path]) -> Any:
    loader: Any = GlobalHydra.instance().config_loader()
    for folder in reversed(dirs):
        loader.get_search_path().prepend("user", search_path(folder))
    loader.repository.initialize_sources(loader.get_search_path())
    _refuse_shadows(loader)
    return loader


def load(loader: Any, overrides: Sequence[str], *, allow_import: Collection[str] | None = ()) -> Config:
    """Compose and check the config of one run; what is legal and yet odd is noted on standard error.

    Args:
        loader: what `session` yielded.
        overrides: `study=catch_dqn`, `mitigation=[redo,layer_norm]`, `mitigation.redo.tau=0.2`, `seed=3` ...
        allow_import: packages that `env.id` may import; None allows all.

    Raises:
        ConfigError: with every fault, where it stands and what was probably meant.
    """
    config = _assembled(loader, request.from_words(loader, overrides), allow_import)
    for line in unmet(config):
        notice(f"note: {line}")
    return config


def from_keywords(study: str, **overrides: Any) -> Config:
    """Return the config of `study` with `overrides`: nested dicts, or keys with dots.

    Raises:
        ConfigError: with every fault.
    """
    with session() as loader:
        return _assembled(loader, request.from_keywords(study, overrides), None)


def _assembled(loader: Any, asked: Request, allow_import: Collection[str] | None) -> Config:
    named = {name for choice in asked.choices if choice.group == "probes" for name in choice.names}
    return measurable(assemble(loader, asked, allow_import), named)


def from_plain(data: Mapping[str, Any]) -> Config:
    """Return the config that `Config.plain` said.

    Raises:
        ConfigError: it is not valid, or not of this version.
    """
    return _validated(data, lambda path: "config")


def from_file(path: Path, *, allow_import: Collection[str] | None = ()) -> Config:
    """Return the config that a run wrote down, `config.yaml` in its folder.

    Args:
        path: the file.
        allow_import: packages that `env.id` may import; None allows all.

    Raises:
        ConfigError: it is not strict YAML, not valid, not of this version, or would import what is not allowed.
    """
    found, name = document(path), near(path)

    def where(keys: tuple[str, ...]) -> str:
        ends = range(len(keys), 0, -1)
        line, column = next((found.places[keys[:end]] for end in ends if keys[:end] in found.places), (1, 1))
        return f"{name}:{line}:{column}"

    config = _validated(found.data, where)
    if faults := list(imports(config, allow_import)):
        raise ConfigError(told(faults, where))
    return config


def _validated(data: Mapping[str, Any], where: Callable[[tuple[str, ...]], str]) -> Config:
    try:
        return model().model_validate(data)
    except ValidationError as error:
        raise ConfigError(told(faults_of(error, data), where)) from None


def variant_name(config: Config) -> str:
    """Return the folder name that says how a run departs from its study, such as `none` or `redo@14,tau=0.2`."""
    return config.variant


def _store_entries() -> None:
    store = ConfigStore.instance()
    for group in NODES:
        nodes = {name: defaults(entry) for name, entry in entries(group).items()}
        for name, node in nodes.items():
            store.store(group=group, name=name, node={name: node} if group in MANY else node)
        if group in MANY:
            store.store(group=group, name="all", node=nodes)
            store.store(group=group, name="none", node={})


def _refuse_shadows(loader: Any) -> None:
    """Keep presets and registered names apart: Hydra would merge the two."""
    shadows = [
        f"{source.path}/{group}/{name}.yaml: {name} is built in; give the preset another name"
        for group in NODES
        for source in loader.get_sources()
        if source.provider != "schema"
        for name in entries(group)
        if source.is_config(f"{group}/{name}")
    ]
    if shadows:
        raise ConfigError(shadows)
