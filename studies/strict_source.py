"""The folders of configs that a user gives, for Hydra: it sees what the strict reader saw, and nothing else.

Hydra's own reader goes by YAML 1.1, executes no code but takes aliases, and would let a `config.yaml` of the folder
stand in for the one that all studies begin with, search path and all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigLoadError, ConfigResult, ConfigSource
from omegaconf import OmegaConf

from lopgym.strict_yaml import Document, Keys, YamlError, read
from lopgym.studies.faults import ConfigError
from lopgym.studies.request import GROUPS, MOST_PARTS

SCHEME = "strict"
_HEADER = 512  # characters in which Hydra seeks `# @package`
PRIMARY = "config.yaml"
LONGEST = 200  # characters of a value with interpolations


def search_path(folder: Path) -> str:
    """Return the folder as an entry of Hydra's search path."""
    Plugins.instance().register(StrictSource)
    return f"{SCHEME}://{folder.resolve()}"


def check_folders(folders: Sequence[Path]) -> None:
    """Read every study and preset of the folders, before anything is imported that takes time or memory.

    Raises:
        ConfigError: with everything that is wrong in any of them.
    """
    lines = [line for folder in folders for file in _files(folder) for line in _trouble(file)]
    if lines:
        raise ConfigError(lines)


def near(path: Path) -> Path:
    """Say a path from here, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def document(path: Path) -> Document:
    """Read one file.

    Raises:
        ConfigError: it is not strict YAML, or cannot be read.
    """
    try:
        return read(path, str(near(path)))
    except YamlError as error:
        raise ConfigError(error.lines) from None
    except OSError as error:
        raise ConfigError([f"{near(path)}: {error.strerror}"]) from None


class StrictSource(ConfigSource):
    """A folder of strict YAML files."""

    @staticmethod
    def scheme() -> str:
        """Name the kind of source in a search path."""
        return SCHEME

    def load_config(self, config_path: str) -> ConfigResult:
        """Read a file.

        Raises:
            ConfigError: it is not strict YAML.
            ConfigLoadError: there is none.
        """
        if not self.is_config(config_path):
            raise ConfigLoadError(f"{config_path} is not in {self.path}")
        file = self._file(config_path)
        if trouble := _trouble(file):
            raise ConfigError(trouble)
        found = document(file)
        header = self._get_header_dict(found.text[:_HEADER])
        return ConfigResult(self.provider, self.full_path(), OmegaConf.create(found.data), header)

    def available(self) -> bool:
        """Whether the folder is there."""
        return self.is_group("")

    def is_group(self, config_path: str) -> bool:
        """Whether there is a folder of that name."""
        return self._inside(config_path).is_dir()

    def is_config(self, config_path: str) -> bool:
        """Whether there is a file of that name; a folder's `config.yaml` is not one of its configs."""
        return self._normalize_file_name(config_path) != PRIMARY and self._file(config_path).exists()

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        """Name what is in a folder."""
        found: list[str] = []
        for file in self._inside(config_path).iterdir():
            self._list_add_result(found, str(Path(config_path, file.name)), file.name, results_filter)
        return sorted(set(found))

    def _file(self, config_path: str) -> Path:
        return self._inside(self._normalize_file_name(config_path))

    def _inside(self, config_path: str) -> Path:
        return Path(self.path, config_path)


def _files(folder: Path) -> Iterator[Path]:
    """Yield what Hydra might read: the files of each group. Other files of the folder are nobody's business."""
    if (folder / PRIMARY).exists():
        yield folder / PRIMARY
    for group in GROUPS:
        yield from sorted((folder / group).glob("*.yaml"))


def _trouble(file: Path) -> Sequence[str]:
    if file.name == PRIMARY and file.parent.name not in GROUPS:
        return [f"{near(file)}: what all studies begin with is built in; put your values into a study, study/NAME.yaml"]
    try:
        found = document(file)
    except ConfigError as error:
        return error.lines
    try:
        ConfigSource._get_header_dict(found.text[:_HEADER])
    except ValueError as error:
        return [f"{near(file)}: {error}; a study begins with the line `# @package _global_`"]
    return [f"{_at(file, found, keys)}: {said}" for keys, said in _foreign(found)]


def _at(file: Path, found: Document, keys: Keys) -> str:
    line, column = found.places[keys]
    return f"{near(file)}:{line}:{column}"


def _foreign(found: Document) -> Iterator[tuple[Keys, str]]:
    """Find what is YAML but would not do: options of the machinery, and riddles for it."""
    if "hydra" in found.data:
        yield ("hydra",), "hydra: the machinery below has no options here"
    for keys, value in _leaves(found.data):
        if "${" in value and (len(value) > LONGEST or value.count("${") > MOST_PARTS):
            yield keys, f"at most {LONGEST} characters with {MOST_PARTS} interpolations, ${{KEY}}, make one value"


def _leaves(value: Any, keys: Keys = ()) -> Iterator[tuple[Keys, str]]:
    """Yield each text and where it is."""
    if isinstance(value, str):
        yield keys, value
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, (*keys, str(key)))
