"""Chromium without a window, driven through its DevTools pipe: no further package is needed."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

#: What reaches out of the window, but for what scrolls, or is cut, in a frame of its own.
OUTSIDE = """[...document.querySelectorAll('body *')].filter((one) => {
  const { left, right, width } = one.getBoundingClientRect();
  if (!width || (left > -1 && right < innerWidth + 1)) return false;
  if (one.closest('.skip, .hidden')) return false;
  for (let over = one; over; over = over.parentElement) {
    if (over !== one && getComputedStyle(over).overflowX !== 'visible') return false;
    if (over.matches('svg.box')) return false;
  }
  return true;
}).map((one) => one.outerHTML.slice(0, 80))"""

#: Seconds that an answer may take on a busy machine.
_PATIENCE = 60


def executable() -> str | None:
    """Chromium of this machine; None where there is none."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


class Browser:
    """One page, and what it complained of and asked for.

    Attributes:
        complaints: errors and warnings of the console, exceptions, violated policies.
        requests: addresses that the page asked for, its own included.
    """

    def __init__(self, folder: Path) -> None:
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self._number = 0
        self._unread = b""
        to_browser, self._write = os.pipe()
        self._read, from_browser = os.pipe()
        # Chromium reads commands from its descriptor 3 and answers on 4.
        passed = f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"'
        program = executable()
        assert program is not None
        self._process = subprocess.Popen(
            [
                "/bin/bash", "-c", passed, "bash", program, "--headless", "--no-sandbox",
                "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
                "--disable-background-networking", "--disable-component-update",
                f"--user-data-dir={folder}", "--remote-debugging-pipe", "about:blank",
            ],
            # A sanitizer that is loaded into the tests is none of its business.
            env={name: text for name, text in os.environ.items() if name != "LD_PRELOAD"},
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(to_browser)
        os.close(from_browser)
        self._session = ""
        targets = self.command("Target.getTargets")["targetInfos"]
        page = next(one["targetId"] for one in targets if one["type"] == "page")
        answer = self.command("Target.attachToTarget", targetId=page, flatten=True)
        self._session = answer["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.command(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        session, self._session = self._session, ""
        with contextlib.suppress(OSError, EOFError, TimeoutError):
            self.command("Browser.close")
        self._session = session
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._write)
        os.close(self._read)

    def open(self, path: Path, width: int = 1280, height: int = 900, *, dark: bool = False) -> None:
        """Loads a file at such a width."""
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.command("Page.navigate", url=path.resolve().as_uri())
        self._await_event("Page.loadEventFired")

    def evaluate(self, expression: str) -> Any:
        """Value of an expression of JavaScript in the page."""
        answer = self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        size = self.command("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        answer = self.command("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(answer["data"]))

    def command(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command; returns its answer and keeps the events that came before it."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self._number:
                assert "error" not in told, (method, told["error"])
                result: dict[str, Any] = told["result"]
                return result

    def _await_event(self, method: str) -> None:
        while self._next().get("method") != method:
            pass

    def _next(self) -> dict[str, Any]:
        until = time.monotonic() + _PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                raise TimeoutError("chromium does not answer")
            received = os.read(self._read, 1 << 20)
            if not received:
                raise EOFError("chromium has gone")
            self._unread += received
        message, _, self._unread = self._unread.partition(b"\0")
        told: dict[str, Any] = json.loads(message)
        self._keep(told.get("method", ""), told.get("params", {}))
        return told

    def _keep(self, method: str, event: dict[str, Any]) -> None:
        if method == "Runtime.consoleAPICalled" and event["type"] in {"error", "warning"}:
            self.complaints.append(str(event["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(event["exceptionDetails"]))
        elif method == "Log.entryAdded":
            self.complaints.append(event["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(event["request"]["url"])
