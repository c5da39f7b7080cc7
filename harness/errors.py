"""The ways a command can fail, each with its exit code.

Every error carries one line that names the problem and the input, and one line of remedy that
says what to do about it. Only ``harness.commands`` turns them into text and exit codes.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: errno values of a full disk, an exceeded quota, an exceeded file size limit.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class HarnessError(Exception):
    """Base class of all errors that are shown without a traceback.

    Args:
        message: the problem and the input that caused it, one line.
        remedy: what the user can do about it, one line; empty when nothing is known to help.
    """

    kind = "internal"
    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


class RequestError(HarnessError):
    """The request is wrong: an option, a file name, an input tensor."""

    kind = "request"
    exit_code = 2


class ModelError(RequestError):
    """The model cannot be read, or ONNX Runtime refuses it."""

    kind = "model"


class ProfileFileError(RequestError):
    """A profile cannot be read: missing, not a profile, damaged, or of an unknown version."""

    kind = "profile"


class MachineError(HarnessError):
    """This machine cannot do what was asked: no usable CUDA, no room on the disk."""

    kind = "machine"
    exit_code = 3


class NoRoomError(MachineError):
    """There is no room on the disk: nothing is wrong with what was asked."""


class Interrupted(HarnessError):
    """The user interrupted the command; what was recorded is kept, and the message says where."""

    kind = "interrupted"
    exit_code = 130


def not_written(
    path: Path, error: OSError, kept: str = "", way_out: str = "make room"
) -> HarnessError:
    """The error for a file that could not be written.

    Args:
        path: the file that was to be written.
        error: what the operating system reported.
        kept: what is not lost; mentioned when the disk is full.
        way_out: the remedy when the disk is full.
    """
    reason = error.strerror or str(error)
    if error.errno in NO_ROOM:
        kept = f"; {kept}" if kept else ""
        return NoRoomError(f"{path}: no room to write it ({reason}){kept}", way_out)
    return RequestError(f"{path}: cannot be written: {reason}", "write to another folder")


def lacks_room(error: BaseException | None) -> bool:
    """Whether an error says that there was no room, or one that caused it does.

    Libraries that write files themselves say so in the words of the system alone.
    """
    while error is not None:
        if isinstance(error, NoRoomError) or getattr(error, "errno", None) in NO_ROOM:
            return True
        if any(os.strerror(number) in str(error) for number in NO_ROOM):
            return True
        error = error.__cause__
    return False


#: What Python, ONNX Runtime and OpenBLAS say when the system starts no more threads.
NO_THREADS = re.compile(r"can't start new thread|pthread_create failed")


def no_threads(what: str) -> MachineError:
    """The error for a process that is refused another thread."""
    return MachineError(
        f"{what}: the system starts no more threads",
        "raise ulimit -u or the container's limit of processes, or use fewer `intra_threads`",
    )


def one_line(text: str, limit: int = 400) -> str:
    """The text on one line, cut in the middle when it is very long."""
    line = " ".join(text.split())
    if len(line) <= limit:
        return line
    return f"{line[: limit // 2]} … {line[-limit // 2 :]}"
