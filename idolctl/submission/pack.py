"""Write the zip for evaluation servers: `results.json` at its root; the same results give the same bytes."""

from __future__ import annotations

import heapq
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from idol_core.data.annotations.fields import integer
from idol_core.errors import Integrity, InvalidInput
from idol_core.system.files import sha256_of, write_aside
from idolctl.submission.results import Scan, Videos, entries, scan

MEMBER = "results.json"
_MARGIN = 0.98  # share of the size limit to aim at, as sizes are estimated
_TRIES = 6


@dataclass(frozen=True)
class Package:
    """A written submission: `kept` of `total` results, in `with_results` of `videos` videos."""

    path: Path
    sha256: str
    size: int
    kept: int
    total: int
    with_results: int
    videos: int
    dropped_to: float | None  # the highest score among those left out


def pack(
    results: Path,
    videos: Videos,
    out: Path,
    *,
    limit: int | None = None,
    top_k: int | None = None,
    min_score: float | None = None,
    fit: bool = False,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> Package:
    """Check `results` and write them to the zip `out`; an old `out` stays until the new one is complete.

    Args:
        limit: largest size of the zip in bytes.
        top_k: keep this many results of each video, those with the highest scores.
        min_score: keep results with at least this score.
        fit: drop the lowest-scored results until the zip is within `limit`.
        progress: called with (bytes read, bytes to read); the results are read twice, to check and to write them.

    Raises:
        Mistakes, Integrity: invalid results (exit 4), or a zip above the limit.
        Missing: no results file.
        InvalidInput: `out` is the results file or a folder.
    """
    check_target(out, results)
    size = results.stat().st_size if results.exists() else 0
    found = scan(results, videos, on_read=lambda at: progress(at, 2 * size))
    keep = _selected(found, top_k, min_score)
    left = _TRIES if fit else 1
    while True:
        left -= 1
        try:
            with write_aside(out) as aside:
                _write(results, aside, keep, on_read=lambda at: progress(size + at, 2 * size))
                if limit is not None and (made := aside.stat().st_size) > limit:
                    raise _TooLarge(out, made, limit)
                _read_back(aside, sum(keep))
                return _package(out, aside, found, keep, len(videos.videos))
        except _TooLarge as error:
            if not left:
                raise
            keep = _smaller(found, keep, error.limit / error.size * _MARGIN)


def check_target(out: Path, source: Path) -> None:
    """Raise InvalidInput if `out` is a folder, or the same file as `source` (also through a link)."""
    if out.exists() and source.exists() and out.samefile(source):
        what = f"the zip would replace the file it is made from, {source}"
        raise InvalidInput(what, where=f"--out {out}", fix="--out submission.zip")
    if out.is_dir():
        what = "--out is a folder; it must be the name of the zip"
        raise InvalidInput(what, where=f"--out {out}", fix=f"--out {out / 'submission.zip'}")


def _selected(found: Scan, top_k: int | None, min_score: float | None) -> bytearray:
    keep = bytearray(b"\1") * len(found)
    if min_score is not None:
        for index, score in enumerate(found.scores):
            keep[index] &= score >= min_score
    if top_k is not None:
        best: dict[int, list[tuple[float, int]]] = {}
        for index, (video, score) in enumerate(zip(found.videos, found.scores, strict=True)):
            if keep[index]:
                heap = best.setdefault(video, [])
                heapq.heappush(heap, (score, -index))
                if len(heap) > top_k:
                    keep[-heapq.heappop(heap)[1]] = 0
    return keep


def _smaller(found: Scan, keep: bytearray, share: float) -> bytearray:
    """Mark the highest-scored results whose JSON size is at most `share` of what is kept now."""
    order = sorted((i for i in range(len(found)) if keep[i]), key=lambda i: (-found.scores[i], i))
    room = share * sum(found.sizes[i] for i in order)
    smaller = bytearray(len(found))
    for index in order:
        room -= found.sizes[index]
        if room < 0:
            break
        smaller[index] = 1
    return smaller


def _write(results: Path, target: Path, keep: bytearray, *, on_read: Callable[[int], None]) -> None:
    member = zipfile.ZipInfo(MEMBER, date_time=(1980, 1, 1, 0, 0, 0))
    member.compress_type = zipfile.ZIP_DEFLATED
    member.external_attr = 0o644 << 16
    member.create_system = 3
    large = results.stat().st_size > 1 << 30
    with (
        zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive,
        archive.open(member, "w", force_zip64=large) as stream,
    ):
        for piece in _text(results, keep, on_read):
            stream.write(piece.encode())


def _text(results: Path, keep: bytearray, on_read: Callable[[int], None]) -> Iterator[str]:
    separator = "["
    with open(results, "rb") as file:
        for index, entry in entries(file, results.name):
            on_read(file.tell())
            if keep[index]:
                plain = {key: integer(entry, key) for key in ("video_id", "category_id")}
                plain |= {key: entry[key] for key in ("score", "segmentations")}
                yield separator + json.dumps(plain, separators=(",", ":"), allow_nan=False)
                separator = ","
    yield "[]" if separator == "[" else "]"


def _read_back(path: Path, expected: int) -> None:
    with zipfile.ZipFile(path) as archive:
        if archive.namelist() != [MEMBER] or archive.testzip() is not None:
            raise Integrity("the zip was not written correctly", where=str(path), fix="check the disk")
        with archive.open(MEMBER) as stream:
            number = sum(1 for _ in entries(stream, MEMBER))
    if number != expected:
        raise Integrity(f"the zip holds {number} results, not {expected}", where=str(path), fix="check the disk")


def _package(out: Path, written: Path, found: Scan, keep: bytearray, videos: int) -> Package:
    dropped = max((found.scores[i] for i in range(len(found)) if not keep[i]), default=None)
    shown = len({video for video, kept in zip(found.videos, keep, strict=True) if kept})
    return Package(out, sha256_of(written), written.stat().st_size, sum(keep), len(found), shown, videos, dropped)


class _TooLarge(Integrity):
    def __init__(self, out: Path, size: int, limit: int) -> None:
        self.size, self.limit = size, limit
        what = f"the zip would be {size / 1e6:.3g} MB, over the server's limit of {limit / 1e6:.3g} MB"
        fix = "--fit raises the score floor until it fits; or --top-k N, --min-score S"
        super().__init__(what, where=str(out), fix=fix)
