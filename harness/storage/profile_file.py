"""Profiles on disk: one module per format version, chosen here; the only user of h5py."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import ProfileFileError, RequestError, not_written, one_line
from harness.storage import shards
from harness.storage.assembly import assemble
from harness.storage.columns import ProfileFile
from harness.storage.files import beside, refuse_existing
from harness.storage.v1.read import read as read_v1
from harness.storage.v1.schema import FORMAT, FORMAT_VERSION
from harness.storage.v1.write import FileGroup, groups, image

if TYPE_CHECKING:
    from collections.abc import Iterator

    from harness.records import Profile

_READERS = {FORMAT_VERSION: read_v1}

#: An HDF5 file begins so. One with something in front of it is not ours.
_HDF5 = b"\x89HDF\r\n\x1a\n"


def write_profile(profile: Profile, target: Path, *, force: bool = False) -> Profile:
    """Writes a profile in the newest format, and removes its partial folder.

    A partial folder of another profile (its ``created`` differs) is left as it is.

    Args:
        profile: what to write.
        target: the file to make; its folder must exist.
        force: overwrite an existing target.

    Returns:
        The profile with ``path`` set to the target.

    Raises:
        RequestError: the target exists (without force), or its folder cannot be written.
        MachineError: there is no room; the partial folder is kept and named.
    """
    target = Path(target)
    folder = shards.partial_folder(target)
    ours = not folder.exists() or _created(folder) == profile.created
    shards.make_private(folder)
    try:
        _write(image(profile), target, force, folder)
    finally:
        # Only an empty folder goes: after a failure the shards stay for ``recover``.
        with contextlib.suppress(OSError):
            folder.rmdir()
    if ours:
        shutil.rmtree(folder, ignore_errors=True)
    return dataclasses.replace(profile, path=target)


def read_profile(path: str | Path) -> Profile:
    """Reads a profile file of any version, or the partial folder of an interrupted one.

    A partial folder gives the processes that have finished, with ``complete`` False. Of a file,
    long columns are read when they are first touched, of this file whatever has become of its
    name since; damage that is found only then is a ProfileFileError too.

    Raises:
        ProfileFileError: no such file, not a profile, damaged, or of an unknown version.
    """
    path = Path(path)
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:  # a name too long, or with a NUL
        raise ProfileFileError(f"{path}: cannot be read: {_reason(error)}") from error
    if is_folder:
        finished, damaged = shards.read_shards(path)
        header = shards.read_header(path)
        with _fitting(path):
            profile = assemble(header, finished, False, damaged)
        return dataclasses.replace(profile, path=path)
    try:
        stored = ProfileFile(path)
    except FileNotFoundError:
        folder = shards.partial_folder(path)
        raise ProfileFileError(
            f"{path}: no such file", f"harness recover {folder}" if folder.is_dir() else ""
        ) from None
    except OSError as error:
        raise ProfileFileError(f"{path}: cannot be read: {_reason(error)}") from error
    if not stored.read_at(0, len(_HDF5)) == _HDF5:
        raise ProfileFileError(f"{path}: not an HDF5 file", "give a file that harness wrote")
    with stored.opened() as file:
        held = file.attrs.get("format")
        if not isinstance(held, str) or held != FORMAT:
            raise ProfileFileError(
                f"{path}: an HDF5 file, but not a profile", "give a file that harness wrote"
            )
        version = int(file.attrs["format_version"])
        if version not in _READERS:
            raise ProfileFileError(
                f"{path}: format version {version}, this harness reads {max(_READERS)} and older",
                f"read it with harness {one_line(str(file.attrs.get('harness_version', '')), 40)} "
                "or newer",
            )
        return _READERS[version](stored)


def file_groups(profile: Profile) -> Iterator[FileGroup]:
    """What a file of the profile in the newest format holds, group by group from the root on."""
    return groups(profile)


def recover(partial: Path, target: Path | None = None, force: bool = False) -> Path:
    """Makes a readable profile of what an interrupted command left; returns its path.

    It is ``complete`` if every planned process had finished. The folder is removed, but
    kept if a shard in it is damaged, which ``absent`` of the profile then names.

    Args:
        partial: the ``.NAME.h5.partial`` folder.
        target: the file to make; None for NAME.h5 beside the folder.
        force: overwrite an existing target.

    Raises:
        ProfileFileError: not such a folder, or no finished process in it.
        RequestError: the target exists (without force), or the command is still running.
        MachineError: there is no room.
    """
    partial = Path(partial)
    if not partial.is_dir():
        raise ProfileFileError(
            f"{partial}: no such partial folder",
            "give the .NAME.h5.partial folder that the interrupted command named",
        )
    with shards.hold(partial):
        header = shards.read_header(partial)
        finished, damaged = shards.read_shards(partial)
        target = _target_of(partial) if target is None else Path(target)
        if not force and _holds_complete(target, header):
            raise RequestError(
                f"{target}: holds this profile already, complete; only the cleanup was cut off",
                f"delete {partial}",
            )
        if not finished:
            raise ProfileFileError(
                f"{partial}: no process had finished, there is nothing to recover"
                + "".join(f"; {name} is damaged: {reason}" for name, reason in damaged),
                "delete it and profile again",
            )
        complete = 0 < header.planned_processes <= len(finished) and not damaged
        with _fitting(partial):
            profile = assemble(header, finished, complete, damaged)
            content = image(profile)
        # A file can be renamed within one file system only.
        near = target.absolute().parent == partial.absolute().parent
        _write(content, target, force, partial if near else target.parent, of=partial)
        if not damaged:
            shutil.rmtree(partial)
    return target


@contextlib.contextmanager
def _fitting(partial: Path) -> Iterator[None]:
    """Shards that do not fit each other are damage of the folder: anybody may have made it."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise ProfileFileError(
            f"{partial}: damaged: {one_line(str(error)) or type(error).__name__}", "profile again"
        ) from error


def _write(
    content: bytes, target: Path, force: bool, folder: Path, *, of: Path | None = None
) -> None:
    """Writes the file in a folder of the target's file system, and puts it in place.

    What is made of somebody's shards, ``of`` a partial folder, must be readable first.
    """
    refuse_existing(target, force=force)
    try:
        with beside(target, folder) as unfinished:
            unfinished.write_bytes(content)
            if of is not None:
                _require_readable(unfinished, of)
            refuse_existing(target, force=force)  # somebody else may have made it meanwhile
    except OSError as error:
        if any(folder.glob("process-*.shard")):
            kept = f"every finished process is kept in {folder}"
            way_out = f"make room, then harness recover {folder}"
            raise not_written(target, error, kept, way_out) from error
        raise not_written(target, error, way_out="make room, then write it again") from error


def _require_readable(file: Path, partial: Path) -> None:
    try:
        read_profile(file)
    except ProfileFileError as error:
        reason = error.message.removeprefix(f"{file}: ")
        raise ProfileFileError(f"{partial}: {reason}", "profile again") from error


def _reason(error: OSError | ValueError) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _created(folder: Path) -> str | None:
    try:
        return shards.read_header(folder).created
    except ProfileFileError:
        return None


def _target_of(partial: Path) -> Path:
    partial = partial.absolute()
    name = partial.name
    if not (name.startswith(".") and name.endswith(".partial")):
        raise RequestError(
            f"{partial}: its name is not .NAME.h5.partial, so the output has no name",
            "name the output file",
        )
    return partial.with_name(name.removeprefix(".").removesuffix(".partial"))


def _holds_complete(target: Path, header: shards.ProfileHeader) -> bool:
    try:
        profile = read_profile(target)
    except ProfileFileError:
        return False
    return profile.complete and profile.created == header.created
