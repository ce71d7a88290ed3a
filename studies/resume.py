"""Resume: where a run that was cut off goes on from, and whether it may."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from lopgym.record import RunFolder, cut
from lopgym.store import Saved, newest
from lopgym.strict_yaml import YamlError, read
from lopgym.studies.compose import Config, from_file
from lopgym.studies.notices import notice

EXACT = ("versions", "threads", "device", "platform")  # facts on which it depends whether a run goes on bit for bit


class CannotResume(Exception):  # noqa: N818  an error in its name would say no more
    """A run cannot go on from what is there."""

    exit_code = 3


def config_of(path: Path, allow_import: Collection[str] | None = None) -> Config:
    """Return the config of the run in the folder `path`, wherever that was moved.

    Raises:
        CannotResume: there is no run, or the folder is not named as its config says.
        ConfigError: the config is none, or its world would import what is not allowed.
    """
    folder = RunFolder(path.resolve())
    if not folder.config.is_file():
        raise CannotResume(f"{path} is not a run folder: it has no config.yaml{_near(path)}")
    config = from_file(folder.config, allow_import=allow_import)
    named = (config.study, config.variant, f"seed-{config.seed}")
    if folder.path.parts[-3:] != named:
        raise CannotResume(f"{path} holds a run whose folder is called {'/'.join(named)}: call it that, and go on")
    return config.model_copy(update={"runs_dir": folder.path.parents[2]})


def _near(path: Path) -> str:
    """Say which runs there are nearby, if any."""
    around = path if path.is_dir() else path.parent
    found = sorted(str(config.parent) for config in around.glob("*/**/config.yaml"))[:3] if around.is_dir() else []
    return f"; there is {', '.join(found)}" if found else ""


def starting_point(
    folder: RunFolder, config: Config, about: Mapping[str, Any], *, strict: bool = False
) -> Saved | None:
    """Return the checkpoint from which the run in `folder` goes on, None if it begins at its beginning.

    Lines that were written after the checkpoint are cut off: they will be written again.

    Args:
        folder: of the run.
        config: with which it is to go on.
        about: facts about this process, of which those in `EXACT` are held to the checkpoint's.
        strict: refuse to go on where it may not be bit for bit.

    Raises:
        FileExistsError: the run is finished, or was begun with another config.
        CannotResume: it may not be exact, and `strict` asks for that; or none of its checkpoints can be read.
    """
    if not folder.about.exists():
        return None
    if folder.finished:
        raise FileExistsError(f"{folder.path} holds a run already; choose another runs_dir or seed, or move it away")
    _hold_config(folder, config)
    saved, skipped = newest(folder.checkpoints)
    for line in skipped:
        notice(f"warning: {line}; skipped")
    if saved is None:
        if skipped:
            raise CannotResume(f"{folder.path}: none of its {len(skipped)} checkpoints can be read")
        notice(f"{folder.path} has no checkpoint yet: it begins again")
    else:
        _hold_exact(folder, saved, about, strict)
    ends = {} if saved is None else saved.tree["files"]
    for name, path in lines_of(folder).items():
        cut(path, ends.get(name, 0))
    return saved


def lines_of(folder: RunFolder) -> dict[str, Path]:
    """Return the files of lines that a run appends to, by name."""
    return {"metrics": folder.metrics, "spectra": folder.spectra}


def _hold_config(folder: RunFolder, config: Config) -> None:
    try:
        was = read(folder.config).data
    except (OSError, YamlError) as error:
        raise CannotResume(f"{folder.config} cannot be read, so nobody knows which run this is: {error}") from None
    apart = [*_differences(was, config.plain())]
    if apart:
        raise FileExistsError(
            f"{folder.path} holds a run that was begun otherwise: {'; '.join(apart[:3])}; "
            "choose another runs_dir or seed, or move it away"
        )


def _differences(was: Mapping[str, Any], now: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Say what differs between two nested configs, key by key; where a run lies is no part of what it is."""
    for key in sorted({*was, *now} - (set() if above else {"runs_dir"})):
        name, then, here = f"{above}{key}", was.get(key), now.get(key)
        if isinstance(then, dict) and isinstance(here, dict):
            yield from _differences(then, here, f"{name}.")
        elif then != here:
            yield f"{name} was {then!r} and is {here!r}"


def _hold_exact(folder: RunFolder, saved: Saved, about: Mapping[str, Any], strict: bool) -> None:
    apart = [*_differences(facts(saved.about), facts(about))]
    if apart:
        line = f"{folder.path} may not go on bit for bit: {'; '.join(apart)}"
        if strict:
            raise CannotResume(line)
        notice(f"warning: {line}")


def facts(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return those facts about a process on which exactness depends."""
    return {name: about[name] for name in EXACT if name in about}
