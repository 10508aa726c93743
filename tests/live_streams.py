"""Live streams on loopback: MPEG-TS over HTTP, and RTSP with RTP packets in its own connection."""

from __future__ import annotations

import contextlib
import http.server
import io
import itertools
import re
import socket
import socketserver
import struct
import threading

import av
import numpy as np

RATE = 25


def picture(number, size=(64, 96)):
    """A frame whose bright column moves."""
    frame = np.full((*size, 3), 40, np.uint8)
    frame[:, (4 * number) % size[1]] = 255
    return frame


def transport_stream(count):
    """MPEG-TS with so many frames."""
    content = io.BytesIO()
    with av.open(content, "w", format="mpegts") as container:
        stream = _video(container)
        for number in range(count):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode())
    return content.getvalue()


class Endless:
    """What an endless stream has: `over` ends it; the first connection is dropped after so many `first` frames."""

    def __init__(self, first):
        self.over, self._first = threading.Event(), first

    def connect(self):
        """How many frames this connection may send."""
        frames, self._first = self._first, None
        return itertools.count() if frames is None else range(frames)


class HttpStream(http.server.ThreadingHTTPServer, Endless):
    """Sends `content`, but for `missing` announced bytes, to every client; without one, an endless transport stream."""

    daemon_threads = True

    def __init__(self, content=None, kind="video/mp2t", *, first=None, chunked=False, missing=0):
        http.server.ThreadingHTTPServer.__init__(self, ("127.0.0.1", 0), _HttpHandler)
        Endless.__init__(self, first)
        self.content, self.kind, self.chunked, self.missing = content, kind, chunked, missing
        self.url = f"http://127.0.0.1:{self.server_port}/live.ts"


class _HttpHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", self.server.kind)
        self.send_header("Connection", "close")
        if self.server.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif self.server.content is not None:
            self.send_header("Content-Length", str(len(self.server.content) + self.server.missing))
        self.end_headers()
        with contextlib.suppress(OSError, av.FFmpegError):  # the client has gone
            if self.server.chunked:
                for chunk in (self.server.content, b""):
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
            elif self.server.content is not None:
                self.wfile.write(self.server.content)
            else:
                _send_live(self.wfile, self.server.over, self.server.connect())


def _send_live(file, over, numbers):
    with av.open(_Writable(file), "w", format="mpegts") as container:
        stream = _video(container)
        for number in numbers:
            if over.wait(1 / RATE):
                break
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        container.mux(stream.encode())


class _Writable:
    """A socket's file without the `seek` that PyAV would use."""

    def __init__(self, file):
        self.write = file.write


def _video(container):
    stream = container.add_stream("mpeg2video", rate=RATE)
    stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
    return stream


class RtspStream(socketserver.ThreadingTCPServer, Endless):
    """An RTSP server of one endless MPEG-2 video; FFmpeg's RTP packets go out interleaved with the answers."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *, first=None):
        socketserver.ThreadingTCPServer.__init__(self, ("127.0.0.1", 0), _RtspHandler)
        Endless.__init__(self, first)
        self.url = f"rtsp://user:secret@127.0.0.1:{self.server_address[1]}/live"


class _RtspHandler(socketserver.StreamRequestHandler):
    def handle(self):
        base = self.server.url.replace("user:secret@", "")
        sdp = f"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 32\r\na=control:{base}/0\r\n"
        while request := self._request():
            method, sequence = request
            extra = {
                "OPTIONS": "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
                "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(sdp)}\r\n",
                "SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
                "PLAY": "Session: 1\r\n",
            }.get(method, "Session: 1\r\n")
            body = sdp if method == "DESCRIBE" else ""
            self.wfile.write(f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{extra}\r\n{body}".encode())
            if method == "PLAY":
                with contextlib.suppress(OSError):
                    self._play()
                return

    def _request(self):
        lines = []
        while (line := self.rfile.readline().decode().strip()) or not lines:
            if not line:
                return None
            lines.append(line)
        sequence = next(re.search(r"\d+", line)[0] for line in lines if line.lower().startswith("cseq"))
        return lines[0].split()[0], sequence

    def _play(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as packets:
            packets.bind(("127.0.0.1", 0))
            packets.settimeout(0.05)
            with av.open(f"rtp://127.0.0.1:{packets.getsockname()[1]}", "w", format="rtp") as container:
                stream = _video(container)
                for number in self.server.connect():
                    if self.server.over.is_set():
                        break
                    for packet in stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")):
                        container.mux(packet)
                    with contextlib.suppress(TimeoutError):
                        while True:
                            packet = packets.recv(65536)
                            self.wfile.write(b"$\0" + struct.pack(">H", len(packet)) + packet)


@contextlib.contextmanager
def running(server):
    """Serve in a thread until the context is left."""
    with server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield server
        finally:
            server.over.set()
            server.shutdown()
