"""Live video: streams on loopback, tracked as they come and looked at through the page on 127.0.0.1."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import threading
import time

import numpy as np
import pytest
from PIL import Image

from idol_core.errors import Integrity, NetworkError
from idol_core.video.files import TimedFrame, read_video
from idol_core.video.newest import newest, paced
from idol_core.video.reconnect import FIRST_WAIT, Gaps, reconnected
from idol_core.video.streams import hidden, is_stream, read_stream
from idolctl.prediction.serve import serving
from tests.cli.conftest import blocks
from tests.live_streams import HttpStream, RtspStream, picture, running, transport_stream


def frames(count):
    return [TimedFrame(picture(number), number / 25) for number in range(count)]


def test_of_frames_that_come_too_fast_the_newest_is_taken_and_the_others_counted():
    taken, arrived = threading.Event(), threading.Event()

    def source():
        yield frames(1)[0]
        taken.wait(20)
        yield from frames(50)
        arrived.set()

    with newest(source()) as coming:
        first = next(coming)
        taken.set()
        arrived.wait(20)  # fifty frames came while one was tracked
        rest = list(coming)
    assert (first.received, first.dropped) == (1, 0)
    assert [(frame.received, frame.dropped) for frame in rest] == [(51, 49)]


def test_an_error_of_the_stream_comes_after_its_last_frame():
    def source():
        yield frames(1)[0]
        raise NetworkError("broke off")

    with newest(source()) as coming:
        assert next(coming).received == 1
        with pytest.raises(NetworkError):
            next(coming)


def test_a_file_is_shown_at_its_own_pace():
    began = time.monotonic()
    assert len(list(paced(frames(6)))) == 6
    assert time.monotonic() - began >= 0.2
    assert list(paced(frames(6), stop=lambda: True)) == []


def test_a_stream_that_is_none_is_a_network_error_without_its_password():
    assert hidden("rtsp://me:pa@ss@host:1/x?token=3") == "rtsp://host:1/x"
    assert is_stream("RTSP://x")
    assert not is_stream("file:///etc/passwd")
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # nothing listens there
        port = bound.getsockname()[1]
        with pytest.raises(NetworkError) as caught:
            list(read_stream(f"rtsp://me:secret@127.0.0.1:{port}/x", stop=lambda: False, timeout=3))
    assert "secret" not in caught.value.what + caught.value.where
    evil = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"
    for content in (b"<!doctype html><html>login</html>", evil, b""):
        with running(HttpStream(content, "application/vnd.apple.mpegurl")) as server:
            server.over.set()
            with pytest.raises((NetworkError, Integrity)):
                list(read_stream(server.url, stop=lambda: False, timeout=3))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_video_that_has_an_end_is_read_once(chunked):
    with running(HttpStream(transport_stream(12), chunked=chunked)) as server:
        assert len(list(read_stream(server.url, stop=lambda: False))) == 12


@pytest.mark.parametrize("kind", [HttpStream, RtspStream])
def test_a_connection_that_is_dropped_is_made_again_and_time_goes_on(kind):
    heard, got, gaps = [], [], Gaps()
    with running(kind(first=40)) as server:
        frames = reconnected(
            lambda: read_stream(server.url, stop=lambda: False), gaps=gaps, say=heard.append, stop=lambda: False
        )
        for frame in frames:
            assert frame.pixels.shape == (64, 96, 3)
            got.append((frame.seconds, gaps.count))
            if sum(count for _, count in got) == 3:
                break
    assert [count for _, count in got] == sorted(count for _, count in got)
    times = [seconds for seconds, _ in got]
    assert times[0] == 0
    assert np.isfinite(times).all()
    assert times == sorted(set(times))
    assert times[-3] - times[-4] == pytest.approx(gaps.seconds)
    assert gaps.seconds > FIRST_WAIT
    assert len(heard) == 2
    assert "broke off: the connection was closed; connecting again in 0.5 s" in heard[0]
    assert "secret" not in heard[0]


def test_a_file_that_breaks_off_is_not_begun_again():
    heard = []
    with running(HttpStream(transport_stream(12), missing=5000)) as server:
        frames = reconnected(
            lambda: read_stream(server.url, stop=lambda: False), gaps=Gaps(), say=heard.append, stop=lambda: False
        )
        assert len([next(frames) for _ in range(12)]) == 12
        with pytest.raises(NetworkError, match="the file broke off: the connection was closed"):
            next(frames)
    assert heard == []


def test_a_server_that_sends_nothing_is_told_as_that():
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        pytest.raises(NetworkError, match=r"nothing came for 0\.3 s"),
    ):
        list(read_stream(f"http://127.0.0.1:{silent.getsockname()[1]}/x", stop=lambda: False, timeout=0.3))


def test_connecting_again_waits_longer_each_time_and_ends():
    heard, calls = [], []

    def connect():
        calls.append(1)
        if len(calls) == 1:
            yield frames(1)[0]
        raise NetworkError("the stream can't be opened: no route", where="rtsp://host/x")

    gone = reconnected(connect, gaps=Gaps(), say=heard.append, stop=lambda: False, first_wait=0.05, patience=1.4)
    with pytest.raises(NetworkError, match=r"did not come back within 1.4 s: .* no route") as caught:
        list(gone)
    assert (caught.value.where, caught.value.exit_code) == ("rtsp://host/x", 5)
    assert caught.value.fix
    assert [line.rpartition(" in ")[2] for line in heard] == ["0.1 s", "0.2 s", "0.4 s"]
    never = reconnected(connect, gaps=Gaps(), say=heard.append, stop=lambda: False, first_wait=100)
    with pytest.raises(NetworkError, match=r"^the stream can't be opened"):  # nothing came at all: no second attempt
        list(never)
    calls.clear()
    heard.clear()
    stopped = reconnected(connect, gaps=Gaps(), say=heard.append, stop=lambda: bool(heard), first_wait=100)
    assert len(list(stopped)) == 1


def get(port, path, host="127.0.0.1"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path, headers={"Host": f"{host}:{port}"})
    return connection.getresponse()


def jpegs(response, count):
    """The first pictures of an MJPEG stream."""
    found = []
    for _ in range(count):
        length = 0
        while (line := response.fp.readline().strip()) or not length:
            if line.lower().startswith(b"content-length"):
                length = int(line.split()[1])
        found.append(Image.open(io.BytesIO(response.fp.read(length))))
        response.fp.readline()
    return found


def test_the_page_is_for_this_machine_only_and_its_pictures_are_the_newest():
    with serving(0) as (page, address):
        port = int(address.rstrip("/").rpartition(":")[2])
        page.show(np.zeros((8, 8, 3), np.uint8), {"frames": 1})
        page.show(np.full((40, 60, 3), 200, np.uint8), {"frames": 2})
        (shown,) = jpegs(get(port, "/stream"), 1)
        assert shown.size == (60, 40)
        assert np.abs(np.asarray(shown).astype(int) - 200).max() < 4
        assert json.loads(get(port, "/stats").read()) == {"frames": 2}
        assert b"<img src=" in get(port, "/").read()
        assert get(port, "/stream", host="evil.example").status == 403
        assert get(port, "/../etc/passwd").status == 404
        with pytest.raises(Exception, match=f"port {port} can't be used"), serving(port):
            pass
    with pytest.raises(OSError, match=r"."):
        get(port, "/")


@pytest.fixture
def port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_a_stream_is_looked_at_in_a_browser_also_after_its_connection_was_dropped(call, port, small_weights):
    seen: dict = {"stats": {"gaps": 0, "frames": 0}}

    def look():
        first = None
        while first is None or seen["stats"]["frames"] < first + 3:  # three frames after the gap
            with contextlib.suppress(ConnectionError):
                seen["pictures"] = seen.get("pictures") or jpegs(get(port, "/stream"), 1)
                seen["stats"] = json.loads(get(port, "/stats").read())
                if seen["stats"]["gaps"] and first is None:
                    first = seen["stats"]["frames"]
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    with running(HttpStream(first=30)) as server:
        browser = threading.Thread(target=look, daemon=True)
        browser.start()
        code, out, err = call("predict", server.url, "--weights", small_weights, "--serve", port, "--json",
                              "--device", "cpu")  # fmt: skip
        browser.join(20)
    assert code == 0, err
    done = json.loads(out)
    assert done["frames"] > 0 <= done["dropped"]
    assert done["gaps"] == 1
    assert "broke off" in err
    assert seen["stats"].keys() == done.keys()
    assert seen["pictures"][0].size[1] >= 300  # small frames are enlarged


def test_a_stream_is_recorded_without_show_or_serve(call, small_weights, tmp_path):
    with running(HttpStream(transport_stream(5))) as server:
        server.over.set()
        code, _, err = call("predict", server.url, "--weights", small_weights, "--out", "kept", "--device", "cpu")
    assert code == 0, err
    assert len(list(read_video(tmp_path / "kept/overlay.mp4"))) == 5


def test_a_stream_that_can_not_be_opened_leaves_no_folder(call, port, small_weights, tmp_path):
    code, _, err = call("predict", f"http://127.0.0.1:{port}/x", "--weights", small_weights, "--device", "cpu")
    assert (code, len(blocks(err))) == (5, 1)
    assert not (tmp_path / "predictions").exists()


def test_a_window_without_a_display_and_options_that_do_not_fit_are_refused(call, small_weights, monkeypatch, tmp_path):
    monkeypatch.delenv("DISPLAY", raising=False)
    Image.fromarray(picture(0)).save(tmp_path / "0.png")
    code, _, err = call("predict", "0.png", "--weights", small_weights, "--show", "--device", "cpu")
    assert (code, "--serve 0" in blocks(err)[0]["fix"]) == (2, True)
    code, _, err = call("predict", "0.png", "--weights", small_weights, "--serve", "0", "--out", "x", "--device", "cpu")
    assert (code, blocks(err)[0]["where"]) == (2, "--out, --save")


@pytest.fixture(scope="module")
def small_weights(tmp_path_factory):
    from idol_core.build import build_model
    from idol_core.config import InputConfig, StageConfig
    from idol_core.metadata import to_metadata
    from idol_core.weights import save_weights
    from tests.unit.tiny import tiny_config

    path = tmp_path_factory.mktemp("live") / "small.safetensors"
    config = StageConfig("ovis", "tiny", 3, model=tiny_config(num_classes=5), input=InputConfig(test_short_side=64))
    save_weights(path, build_model(config.model).state_dict(), to_metadata(config, list("abcde")))
    return path
