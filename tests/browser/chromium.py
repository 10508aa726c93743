"""Debian's chromium without a window, spoken to over two pipes (DevTools protocol): pages, scripts, keys, pictures."""

from __future__ import annotations

import base64
import itertools
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
    *("--hide-scrollbars", "--remote-debugging-pipe"),
]


class Chromium:
    """A browser with one page. `messages` is what its console said, errors of the page and refusals among it."""

    def __init__(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="chromium", ignore_cleanup_errors=True)
        command_in, self._to = os.pipe()
        self._from, answer_out = os.pipe()
        shell = f'exec "$0" "$@" 3<&{command_in} 4>&{answer_out}'  # chromium reads 3 and writes 4
        command = ["bash", "-c", shell, CHROMIUM, *FLAGS, f"--user-data-dir={self._home.name}", "about:blank"]
        self._process = subprocess.Popen(
            command, pass_fds=(command_in, answer_out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(command_in)
        os.close(answer_out)
        self._ids, self._buffer = itertools.count(1), b""
        self._session, self.messages, self._seen = None, [], set()
        (page,) = [t for t in self._call("Target.getTargets")["targetInfos"] if t["type"] == "page"]
        target = {"targetId": page["targetId"], "flatten": True}
        self._session = self._call("Target.attachToTarget", **target)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        self._call("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def __enter__(self) -> Chromium:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)
        self._home.cleanup()

    def open(self, page: Path) -> float:
        """Load a file; returns the seconds until it was complete."""
        self._seen.discard("Page.loadEventFired")
        started = time.monotonic()
        self._call("Page.navigate", url=page.resolve().as_uri())
        while "Page.loadEventFired" not in self._seen:
            self._next()
        return time.monotonic() - started

    def run(self, script: str):
        """The value of an expression in the page."""
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise AssertionError(found["exceptionDetails"])
        return found["result"].get("value")

    def press(self, key: str, code: int) -> None:
        """Press a key where the focus is."""
        for kind in ("keyDown", "keyUp"):
            self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    def picture(self, path: Path, *, whole: bool = False, selector: str = "") -> None:
        """Write a PNG of the window, of the whole page or of an element."""
        options = {"captureBeyondViewport": whole or bool(selector)}
        if selector:
            rectangle = f"document.querySelector({selector!r}).getBoundingClientRect()"
            box = self.run(f"(b => [b.x + scrollX, b.y + scrollY, b.width, b.height])({rectangle})")
            options["clip"] = dict(zip(("x", "y", "width", "height"), box, strict=True)) | {"scale": 1}
        elif whole:
            size = self._call("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", **options)["data"]))

    def _call(self, method: str, **parameters):
        number = next(self._ids)
        message = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                if "error" in answer:
                    raise AssertionError(f"{method}: {answer['error']}")
                return answer["result"]

    def _next(self) -> dict:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], 60)
            part = os.read(self._from, 2**20) if ready else b""
            if not part:
                raise AssertionError("chromium ended, or said nothing for a minute")
            self._buffer += part
        text, _, self._buffer = self._buffer.partition(b"\0")
        message = json.loads(text)
        method, values = message.get("method", ""), message.get("params", {})
        self._seen.add(method)
        if method == "Runtime.exceptionThrown":
            self.messages.append(values["exceptionDetails"])
        elif method == "Log.entryAdded":
            self.messages.append(values["entry"]["text"])
        elif method == "Runtime.consoleAPICalled":
            self.messages.append([one.get("value") for one in values["args"]])
        elif method == "Network.requestWillBeSent" and not values["request"]["url"].startswith(("file:", "data:")):
            self.messages.append(f"asks the network for {values['request']['url']}")
        return message
