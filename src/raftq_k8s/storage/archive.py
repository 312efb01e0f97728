"""Volumes that are given up are not thrown away: they move into a folder beside, where a person may look at them, or
take them away.

A volume is several files, and each moves by itself. So where to is written down first: a move that a crash has cut
short is ended by whoever comes next, before anybody looks at the volume. All of this is for a volume that no process
runs on.
"""

import os
import shutil
from pathlib import Path

from raftq_k8s.storage import reserve, schema, watermark
from raftq_k8s.storage.volume import VolumeUnusable

FOLDER = "archive"

_UNFINISHED = "raftq.archiving"
_FILES = (schema.FILE, schema.FILE + "-wal", watermark.FILE)


def move(directory: Path, name: str) -> Path:
    """Leaves a blank volume. Returns the folder in which the former one is. Raises `VolumeUnusable`."""
    try:
        return _moved(directory, _begin(directory, name))
    except OSError as error:
        raise _not_archived(directory, error) from error


def finish(directory: Path) -> Path | None:
    """End a move that was cut short, if there is one. Raises `VolumeUnusable`."""
    try:
        place = (directory / _UNFINISHED).read_text().strip()
    except OSError:
        return None  # mostly there is none; and where nothing can be read, whoever opens the volume says so
    try:
        return _moved(directory, place)
    except OSError as error:
        raise _not_archived(directory, error) from error


def copy(directory: Path, name: str) -> Path:
    """Of a volume that is about to become another one. Raises `VolumeUnusable`, and has then changed nothing."""
    try:
        folder = _fresh(directory, name)
        folder.mkdir(parents=True)
        for file in _present(directory):
            shutil.copyfile(directory / file, folder / file)
            _sync(folder / file)
        for each in (folder, folder.parent, directory):
            schema.sync_directory(each)
    except OSError as error:
        raise _not_archived(directory, error) from error
    return folder


def _begin(directory: Path, name: str) -> str:
    place = _fresh(directory, name).name
    fresh = directory / f"{_UNFINISHED}.new"
    fresh.write_text(place)
    _sync(fresh)
    fresh.replace(directory / _UNFINISHED)
    schema.sync_directory(directory)
    return place


def _moved(directory: Path, place: str) -> Path:
    folder = directory / FOLDER / place
    folder.mkdir(parents=True, exist_ok=True)
    for file in _present(directory):
        (directory / file).replace(folder / file)
    (directory / reserve.FILE).unlink(missing_ok=True)
    for each in (folder, folder.parent, directory):
        schema.sync_directory(each)
    (directory / _UNFINISHED).unlink()
    schema.sync_directory(directory)
    return folder


def _fresh(directory: Path, name: str) -> Path:
    """A folder of that name, or of that name and a number."""
    folder, number = directory / FOLDER / name, 1
    while folder.exists():
        number += 1
        folder = directory / FOLDER / f"{name}-{number}"
    return folder


def _present(directory: Path) -> list[str]:
    return [file for file in _FILES if (directory / file).exists()]


def _sync(file: Path) -> None:
    handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _not_archived(directory: Path, error: OSError) -> VolumeUnusable:
    return VolumeUnusable(
        f"volume {directory} cannot be archived ({error.strerror or error}): "
        "check its free space, and who may write there"
    )
