"""Profiles on disk: chooses the module for each format version."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from harness.errors import ProfileFileError, RequestError, not_written, one_line
from harness.storage import shards
from harness.storage.assembly import assemble
from harness.storage.columns import ProfileFile
from harness.storage.files import beside, refuse_existing
from harness.storage.v1.outline import outline as outline_v1
from harness.storage.v1.read import read as read_v1
from harness.storage.v1.schema import FORMAT, FORMAT_VERSION
from harness.storage.v1.write import FileGroup, groups, image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from harness.records import Outline, Profile, WallTime

_READERS = {FORMAT_VERSION: read_v1}
_OUTLINES = {FORMAT_VERSION: outline_v1}

#: Signature at the start of an HDF5 file. A file with a user block before it is not ours.
_HDF5 = b"\x89HDF\r\n\x1a\n"


def write_profile(
    profile: Profile,
    target: Path,
    *,
    force: bool = False,
    ended: Callable[[], WallTime] | None = None,
) -> Profile:
    """Writes a profile in the newest format, and removes its partial folder.

    The partial folder of a different profile (its ``created`` differs) is left alone.

    Args:
        profile: what to write.
        target: the file to create; its folder must exist.
        force: overwrite an existing target.
        ended: called for its ``wall_time`` when all other contents of the file are complete.

    Returns:
        The profile as it was written, with ``path`` set to the target.

    Raises:
        RequestError: the target exists (without force), or its folder cannot be written.
        MachineError: there is no room; the partial folder is kept and named.
    """
    target = Path(target)
    folder = shards.partial_folder(target)
    ours = not folder.exists() or _created(folder) == profile.created
    shards.make_private(folder)
    try:
        profile, content = image(profile, ended)
        _write(content, target, force, folder)
    finally:
        # Only removes an empty folder: after a failure, the shards stay for ``recover``.
        with contextlib.suppress(OSError):
            folder.rmdir()
    if ours:
        shutil.rmtree(folder, ignore_errors=True)
    return dataclasses.replace(profile, path=target)


def read_profile(path: str | Path) -> Profile:
    """Reads a profile file of any version, or the partial folder of an interrupted one.

    For a partial folder, returns the finished processes, with ``complete`` False. Long columns of
    a file are read on first access, always from the file that was opened, even if its name has
    been reused since; damage that is only found then is also a ProfileFileError.

    Raises:
        ProfileFileError: no such file, not a profile, damaged, or of an unknown version.
    """
    path = Path(path)
    try:
        is_folder = path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long or contains NUL
        raise ProfileFileError(f"{path}: cannot be read: {_reason(error)}") from error
    if is_folder:
        finished, damaged = shards.read_shards(path)
        header = shards.read_header(path)
        with _fitting(path):
            profile = assemble(header, finished, False, damaged)
        return dataclasses.replace(profile, path=path)
    return _read(path, _READERS)


def readable_profiles(paths: Iterable[str | Path]) -> Iterator[Profile]:
    """Reads one file after the other, as they are asked for; leaves out what is no profile."""
    for path in paths:
        try:
            profile = read_profile(path)
        except (ProfileFileError, RequestError, OSError):
            continue
        yield profile


def read_outline(path: Path) -> Outline:
    """What a profile file of any version says about itself, without reading its samples.

    Damage of what it does not read, such as a timed pass, is not found.

    Raises:
        ProfileFileError: no such file, not a profile, damaged, or of an unknown version.
    """
    return _read(path, _OUTLINES)


_Read = TypeVar("_Read")


def _read(path: Path, readers: Mapping[int, Callable[[ProfileFile], _Read]]) -> _Read:
    """Opens a profile file, and reads it by the reader of its version."""
    try:
        stored = ProfileFile(path)
    except FileNotFoundError:
        folder = shards.partial_folder(path)
        raise ProfileFileError(
            f"{path}: no such file", f"harness recover {folder}" if folder.is_dir() else ""
        ) from None
    except (OSError, ValueError) as error:
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
        if version not in readers:
            raise ProfileFileError(
                f"{path}: format version {version}, this harness reads up to {max(readers)}",
                f"read it with harness {one_line(str(file.attrs.get('harness_version', '')), 40)} "
                "or newer",
            )
        return readers[version](stored)


def file_groups(profile: Profile) -> Iterator[FileGroup]:
    """The contents of the profile's file in the newest format, group by group from the root."""
    return groups(profile)


def recover(partial: Path, target: Path | None = None, force: bool = False) -> Path:
    """Writes a readable profile from what an interrupted command left; returns its path.

    It is ``complete`` if every planned process had finished. The folder is removed, unless a
    shard in it is damaged; the profile's ``absent`` then names that shard.

    Args:
        partial: the ``.NAME.h5.partial`` folder.
        target: the file to create; None for NAME.h5 next to the folder.
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
                f"{target}: already holds this complete profile; only the cleanup was cut off",
                f"delete {partial}",
            )
        if not finished:
            raise ProfileFileError(
                f"{partial}: no process had finished, so there is nothing to recover"
                + "".join(f"; {name} is damaged: {reason}" for name, reason in damaged),
                "delete it and profile again",
            )
        complete = 0 < header.planned_processes <= len(finished) and not damaged
        with _fitting(partial):
            profile = assemble(header, finished, complete, damaged)
            _, content = image(profile)
        # A file can only be renamed within one file system.
        near = target.absolute().parent == partial.absolute().parent
        _write(content, target, force, partial if near else target.parent, of=partial)
        if not damaged:
            shutil.rmtree(partial)
    return target


@contextlib.contextmanager
def _fitting(partial: Path) -> Iterator[None]:
    """Reports shards that do not fit together as damage: the folder is not trusted."""
    try:
        yield
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise ProfileFileError(
            f"{partial}: damaged: {one_line(str(error)) or type(error).__name__}", "profile again"
        ) from error


def _write(
    content: bytes, target: Path, force: bool, folder: Path, *, of: Path | None = None
) -> None:
    """Writes the file in a folder on the target's file system, and moves it into place.

    A file made from the shards ``of`` a partial folder must first prove readable.
    """
    refuse_existing(target, force=force)
    try:
        with beside(target, folder) as unfinished:
            unfinished.write_bytes(content)
            if of is not None:
                _require_readable(unfinished, of)
            refuse_existing(target, force=force)  # somebody else may have created it meanwhile
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
            f"{partial}: is not named .NAME.h5.partial, so the name of the output is unknown",
            "name the output file",
        )
    return partial.with_name(name.removeprefix(".").removesuffix(".partial"))


def _holds_complete(target: Path, header: shards.ProfileHeader) -> bool:
    try:
        profile = read_profile(target)
    except ProfileFileError:
        return False
    return profile.complete and profile.created == header.created
