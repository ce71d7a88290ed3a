"""Exits: how a command ends that cannot do its work: one line for each reason on standard error, and a code."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn

import typer

USAGE, FILE_SYSTEM, INTERRUPTED, TERMINATED = 2, 4, 130, 143

_CODES: dict[type[Exception], int] = {
    FileExistsError: USAGE,  # there is a run already: nothing is wrong with the disk
    OSError: FILE_SYSTEM,
    MemoryError: USAGE,  # a buffer or a network was asked for that does not fit
}


@contextmanager
def told(special: Mapping[type[Exception], int] = MappingProxyType({})) -> Iterator[None]:
    """Tell errors that are no bugs in one line each, and exit with their code; `special` codes go first."""
    from lopgym.studies.termination import Terminated, terminable

    try:
        with terminable():
            yield
    except KeyboardInterrupt:
        tell(["interrupted"], INTERRUPTED)
    except Terminated:
        tell(["terminated"], TERMINATED)
    except Exception as error:
        codes = (code for kind, code in {**special, **_CODES, **_no_world()}.items() if isinstance(error, kind))
        code = getattr(error, "exit_code", next(codes, None))
        if code is None:
            raise  # a bug: with its traceback
        tell(getattr(error, "lines", [str(error)]), code)


def _no_world() -> dict[type[Exception], int]:
    """Why a world cannot be made here: an extra is not installed, or nobody has registered the id."""
    from gymnasium.error import DependencyNotInstalled, UnregisteredEnv

    return dict.fromkeys((DependencyNotInstalled, UnregisteredEnv), USAGE)


def tell(lines: Iterable[str], code: int) -> NoReturn:
    """End with `code`, and say why."""
    for line in lines:
        typer.secho(f"error: {line}", fg=typer.colors.RED, err=True)
    raise typer.Exit(code) from None


def say(line: object) -> None:
    """Print a line of results; where nobody reads them any more, `| head`, what was done is still well done."""
    try:
        typer.echo(line)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the last flush would fail again


def check_writable(folder: Path) -> None:
    """Refuse a folder in which nothing can be written.

    Raises:
        PermissionError: with what is in the way.
    """
    from lopgym.studies.doctor import trouble_writing

    if trouble := trouble_writing(folder):
        raise PermissionError(f"{folder} cannot be written: {trouble}")
