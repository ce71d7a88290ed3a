"""Files and folders that are whole or not there: under which name an error tells them, and what is left of them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lopgym.files import whole
from lopgym.studies.whole_folder import write_whole


def test_a_disk_that_fails_is_told_by_the_file_that_was_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the name that it has for the moment, and not by none."""

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_whole(tmp_path / "out", {"a": b"1"})
    assert caught.value.filename == str(tmp_path / "out" / "a")
    assert not [*tmp_path.iterdir()]
    with (
        pytest.raises(OSError, match=re.escape(str(tmp_path / "none" / "x.json"))),
        whole(tmp_path / "none" / "x.json"),
    ):
        pass


def test_a_folder_that_is_being_made_by_somebody_else_is_left_alone(tmp_path: Path) -> None:
    """One that has the name under which ours would be made."""
    theirs = tmp_path / f".tmp-out-{os.getpid()}" / "theirs"
    theirs.mkdir(parents=True)
    with pytest.raises(FileExistsError):
        write_whole(tmp_path / "out", {"a": b"1"})
    assert theirs.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="which folder a handle is of is read where Linux says it")
@pytest.mark.parametrize("write", [lambda out: write_whole(out / "x", {"a": b"1"}), lambda out: _writes(out / "a")])
def test_folders_are_synced_too(write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or after a power cut what was written could have no name; a disk that cannot sync a folder is no failure."""
    synced = []

    def sync(handle: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{handle}")))
        if synced[-1] == tmp_path:
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", sync)
    write(tmp_path)
    assert tmp_path in synced
    assert len([*tmp_path.iterdir()]) == 1


def _writes(path: Path) -> None:
    with whole(path) as file:
        file.write("a")
