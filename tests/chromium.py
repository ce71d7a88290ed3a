"""Debian's headless Chromium, driven over a pipe by the Chrome DevTools Protocol: enough to look at a page."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
    "--no-first-run",
]
QUIET = ["quic", "background-networking", "component-update", "sync"]  # no word to the outside


class Page:
    """One page in a browser of its own, gone with the `with` block."""

    def __init__(self, url: str, profile: Path, *, width: int = 1600, height: int = 1400) -> None:
        """Open `url`; `profile` is an empty folder.

        Raises:
            RuntimeError: there is no Chromium; the message is the command that installs it.
        """
        if not (program := shutil.which("chromium")):
            raise RuntimeError("apt-get install chromium")
        to_read, self._write = os.pipe()
        self._read, to_write = os.pipe()
        flags = [
            *FLAGS,
            *(f"--disable-{what}" for what in QUIET),
            f"--user-data-dir={profile}",
            f"--window-size={width},{height}",
        ]
        # The browser reads commands from descriptor 3 and answers on 4.
        plumbing = f'exec "$0" "$@" 3<&{to_read} 4>&{to_write} 2>/dev/null'
        command = ["bash", "-c", plumbing, program, *flags]
        self._process = subprocess.Popen(command, pass_fds=(to_read, to_write))
        os.close(to_read)
        os.close(to_write)
        self._rest, self._calls, self._session = b"", 0, None
        target = self.call("Target.createTarget", url=url)["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]

    def __enter__(self) -> Page:
        """Return the page."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the browser."""
        self._session = None
        self.call("Browser.close")
        self._process.wait(timeout=20)
        os.close(self._read)
        os.close(self._write)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Do one command and return its result; events in between are dropped."""
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != self._calls:
            pass
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return dict(answer["result"])

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get("value")

    def wait(self, script: str, *, seconds: float = 60.0) -> Any:
        """Return the value of `script` once it is true.

        Raises:
            TimeoutError: it did not become true.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if value := self.evaluate(script):
                return value
            time.sleep(0.25)
        raise TimeoutError(f"after {seconds:.0f} s still not true: {script}")

    def screenshot(self) -> bytes:
        """Return the visible page as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            chunk = os.read(self._read, 1 << 20)
            if not chunk:
                raise RuntimeError("the browser ended")
            self._rest += chunk
        message, _, self._rest = self._rest.partition(b"\0")
        return dict(json.loads(message))


# Every element of the page, those in shadow roots included: TensorBoard is made of web components.
ALL = """(function all(root) { return [...root.querySelectorAll('*')].flatMap(
  e => e.shadowRoot ? [e, ...all(e.shadowRoot)] : [e]) })(document)"""
