"""Commands as forks of one process that has imported what they need.

Most of the time of a command that only looks at a profile goes into the start of Python and its
imports. A fork has these behind it. From ``harness.__main__`` on it does what ``python -m harness``
does, in a process of its own: folder, environment, standard streams, signals and exit code are its.

As a script this is the server. Requests come through the socket of the given number, each with the
standard streams of a command and a socket for the answers: the process's number and, at its end,
its exit code.
"""

from __future__ import annotations

import atexit
import dataclasses
import functools
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]

#: The longest request, which has the environment in it.
_LONGEST = 1 << 17

#: The longest answer.
_ANSWER = 64

#: A command that takes longer hangs.
_PATIENCE_S = 300


@dataclasses.dataclass(frozen=True)
class Started:
    """A command that was started.

    Attributes:
        pid: number of its process.
    """

    pid: int
    _answers: socket.socket

    def ended(self) -> int:
        """Waits for its end and returns the exit code, as subprocess tells it; call it once."""
        with self._answers:
            return int(self._answers.recv(_ANSWER))


def execute(
    *arguments: object, folder: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    """``harness ARGUMENTS`` in a folder, with pipes for what it writes."""
    out, out_end = os.pipe()
    err, err_end = os.pipe()
    streams = (0, out_end, err_end)
    command = start(*arguments, folder=folder, environment=environment, streams=streams)
    os.close(out_end)
    os.close(err_end)
    written = {out: b"", err: b""}
    with selectors.DefaultSelector() as ends:
        for end in written:
            ends.register(end, selectors.EVENT_READ)
        while ends.get_map():
            ready = ends.select(_PATIENCE_S)
            if not ready:
                os.kill(command.pid, signal.SIGKILL)
                raise subprocess.TimeoutExpired(list(map(str, arguments)), _PATIENCE_S)
            for key, _ in ready:
                piece = os.read(key.fd, 1 << 16)
                written[key.fd] += piece
                if not piece:
                    ends.unregister(key.fd)
                    os.close(key.fd)
    stdout, stderr = (text.decode() for text in written.values())
    return subprocess.CompletedProcess(arguments, command.ended(), stdout, stderr)


def start(
    *arguments: object,
    folder: Path,
    environment: dict[str, str],
    streams: tuple[int, int, int],
) -> Started:
    """Starts a command with these standard streams."""
    words = [str(word) for word in arguments]
    request = {"words": words, "folder": str(folder), "environment": environment}
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        socket.send_fds(_server(), [json.dumps(request).encode()], [*streams, its.fileno()])
    return Started(int(ours.recv(_ANSWER)), ours)


@functools.cache
def _server() -> socket.socket:
    """Where the server of this process's tests takes requests; it ends with this process."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        process = subprocess.Popen(
            [sys.executable, __file__, str(its.fileno())],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            pass_fds=(its.fileno(),),
        )
    atexit.register(process.wait)
    atexit.register(ours.close)  # comes first, and ends it
    return ours


def _serve(requests: socket.socket) -> int:
    """Returns in each of the commands, and in the server once nobody asks any more."""
    with selectors.DefaultSelector() as waiting:
        waiting.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in waiting.select():
                if key.fileobj is not requests:  # a command has ended
                    pid, answers = key.data
                    _, status = os.waitpid(pid, 0)
                    waiting.unregister(key.fd)
                    os.close(key.fd)
                    with answers:
                        answers.send(str(os.waitstatus_to_exitcode(status)).encode())
                    continue
                text, handed, _, _ = socket.recv_fds(requests, _LONGEST, 4)
                if not text:
                    return 0
                *streams, answers_fd = handed
                answers = socket.socket(fileno=answers_fd)
                pid = os.fork()
                if pid == 0:
                    waiting.close()
                    answers.close()
                    requests.close()
                    return _command(json.loads(text), streams)
                for stream in streams:
                    os.close(stream)
                answers.send(str(pid).encode())
                waiting.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, answers))


def _command(request: dict[str, Any], streams: list[int]) -> int:
    """Makes this process look as Python has just started it for a command, and runs that."""
    from harness import __main__

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdout = sys.__stdout__ = _stream(1, "strict")
    sys.stderr = sys.__stderr__ = _stream(2, "backslashreplace")
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    sys.argv = [__main__.__file__, *request["words"]]
    sys.path.insert(0, request["folder"])
    return __main__.main()


def _stream(number: int, errors: str) -> io.TextIOWrapper:
    """As Python opens it: what goes to a terminal, and all errors, line by line."""
    return open(
        number,
        "w",
        buffering=1 if number == 2 or os.isatty(number) else -1,
        encoding="utf-8",
        errors=errors,
        closefd=False,
    )


def _import_all() -> None:
    """All of harness, and what it imports late."""
    from harness import blas_threads

    blas_threads.limit()
    import harness

    for module in pkgutil.walk_packages(harness.__path__, "harness."):
        if not module.name.startswith("harness.native."):
            importlib.import_module(module.name)
    for late in ("onnx.helper", "onnx.numpy_helper", "scipy.special"):
        importlib.import_module(late)
    gc.freeze()  # or the first collection in each fork would copy all of it


if __name__ == "__main__":
    del sys.path[0]  # this folder
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        _import_all()
        code = _serve(inherited)
    # As Python ends, except that it would take all apart that was imported, at three forks' cost.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
