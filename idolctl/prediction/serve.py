"""Show frames in a browser on this machine: an HTTP server with a page and an MJPEG stream, on 127.0.0.1 alone."""

from __future__ import annotations

import contextlib
import http.server
import json
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import simplejpeg

from idol_core.errors import IdolError
from idol_core.video.colors import Frame

QUALITY = 85  # of the JPEGs
MOST_VIEWERS = 16
_SECONDS = 10.0  # that a browser may take for a frame
_BOUNDARY = "frame"
_PAGE = b"""<!doctype html><meta charset="utf-8"><title>idolctl</title>
<style>body{margin:0;background:#111;color:#ddd;font:14px sans-serif}img{display:block;max-width:100vw;max-height:95vh}
p{margin:4px 8px}</style><img src="stream" alt="tracked frames"><p id="s"></p>
<script>setInterval(async()=>{try{const r=await(await fetch("stats")).json();
document.getElementById("s").textContent=Object.entries(r).map(([k,v])=>k+" "+v).join("   ")}catch(e){}},1000)</script>
"""


class Page:
    """What the server shows: the newest frame and figures on the stream."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._jpeg, self._number, self._closed = b"", 0, False
        self._stats: Mapping[str, Any] = {}

    def show(self, frame: Frame, stats: Mapping[str, Any]) -> None:
        """Replace the frame [H, W, 3] RGB and the figures."""
        jpeg = simplejpeg.encode_jpeg(frame, quality=QUALITY, colorspace="RGB")
        with self._changed:
            self._jpeg, self._number, self._stats = jpeg, self._number + 1, stats
            self._changed.notify_all()

    def close(self) -> None:
        """End all streams."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def stats(self) -> bytes:
        """The figures as JSON."""
        return json.dumps(dict(self._stats)).encode()

    def jpegs(self) -> Iterator[bytes]:
        """Yield the newest frame whenever there is one that was not yielded yet."""
        seen = 0
        while True:
            with self._changed:
                while not self._closed and self._number == seen:
                    self._changed.wait()
                if self._closed:
                    return
                seen, jpeg = self._number, self._jpeg
            yield jpeg


@contextlib.contextmanager
def serving(port: int) -> Iterator[tuple[Page, str]]:
    """Serve a page at http://127.0.0.1:PORT (0: any free port); yields it and its address.

    Raises IdolError if the port is taken or may not be used.
    """
    try:
        server = _Server(("127.0.0.1", port), _Handler)
    except OSError as error:
        what = f"port {port} can't be used: {error.strerror}"
        raise IdolError(what, where="--serve", fix="--serve 0 takes a free port") from error
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="serve", daemon=True)
        thread.start()
        try:
            yield server.page, f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.page.close()
            server.shutdown()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, *arguments: Any) -> None:
        self.page = Page()
        self.viewers = threading.Semaphore(MOST_VIEWERS)
        super().__init__(*arguments)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server
    timeout = _SECONDS

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer for /, /stream and /stats."""
        if self.headers.get("Host", "").rpartition(":")[0] not in ("127.0.0.1", "localhost"):
            self.send_error(403)  # a page of another site, whose name leads here
        elif self.path == "/":
            self._send("text/html; charset=utf-8", _PAGE)
        elif self.path == "/stats":
            self._send("application/json", self.server.page.stats())
        elif self.path != "/stream":
            self.send_error(404)
        elif self.server.viewers.acquire(blocking=False):
            try:
                with contextlib.suppress(OSError):  # the browser has gone
                    self._stream()
            finally:
                self.server.viewers.release()
        else:
            self.send_error(503)

    def _stream(self) -> None:
        self._begin(f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        for jpeg in self.server.page.jpegs():
            head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")
        self.close_connection = True

    def _send(self, kind: str, content: bytes) -> None:
        self._begin(kind, length=len(content))
        self.wfile.write(content)

    def _begin(self, kind: str, *, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Cache-Control", "no-store")
        self.send_header("Cross-Origin-Resource-Policy", "same-origin")
        self.send_header("X-Content-Type-Options", "nosniff")
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()
