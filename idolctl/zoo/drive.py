"""Download files and folders from Google Drive with gdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from idol_core.errors import NetworkError
from idol_core.system.download import (
    Progress,
    TransientError,
    innermost,
    passes,
    require_room,
    retry,
    unknown_host,
    web_page,
)
from idolctl.terminal.progress import say


def drive_file(file_id: str, part: Path, *, timeout: float, progress: Progress) -> None:
    """Download a file to `part`; bytes that are already in `part` are not downloaded again.

    Raises NetworkError as `download` does, IdolError for too little disk space, OSError from the disk.
    """
    import gdown

    where = f"drive:{file_id}"
    aside = part.with_name(f"{part.name}{'_' * 8}.part")  # the name under which gdown looks for a partial file

    def watch(done: int, total: int | None) -> None:
        require_room(part, None if total is None else total - done)
        progress(done, total)

    def attempt() -> None:
        aside.touch()
        try:
            with _translated(where):
                gdown.download(
                    id=file_id, output=str(part), quiet=True, use_cookies=False, resume=True, timeout=timeout,
                    progress=watch,
                )  # fmt: skip
        except _OtherRange:
            aside.unlink()
            raise

    if part.exists():
        part.replace(aside)
    try:
        retry(attempt, where=where, say=say)
    finally:
        if aside.exists() and aside.stat().st_size:
            aside.replace(part)
        aside.unlink(missing_ok=True)


def drive_folder(folder_id: str, names: Sequence[str], aside: Path, *, timeout: float, progress: Progress) -> None:
    """Download the files `names` from a Drive folder or its subfolders to `aside`. Raises as `drive_file` does."""
    import gdown

    where = f"drive:{folder_id}"
    found: list[Any] = []

    def attempt() -> None:
        with _translated(where):
            found[:] = gdown.download_folder(
                id=folder_id, output=str(aside), quiet=True, use_cookies=False, skip_download=True, timeout=timeout
            )

    retry(attempt, where=where, say=say)
    places = {Path(file.local_path).name: file.id for file in reversed(found)}
    for name in names:
        if name in places:
            drive_file(places[name], aside / name, timeout=timeout, progress=progress)


class _OtherRange(TransientError):
    """The partial file does not match the file on the server."""


@contextmanager
def _translated(where: str) -> Iterator[None]:
    """Translate gdown's errors: TransientError for those worth a retry, otherwise NetworkError."""
    from gdown.exceptions import DownloadError, FileURLRetrievalError
    from requests.exceptions import HTTPError, RequestException

    try:
        yield
    except FileURLRetrievalError as error:
        raise _page(str(error), where) from error
    except DownloadError as error:
        kind = _OtherRange if "byte range" in str(error) else TransientError
        raise kind(innermost(error)) from error
    except HTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        if passes(status):
            raise TransientError(f"HTTP {status}") from error
        raise NetworkError(f"Google Drive says HTTP {status}", where=where, fix="--mirror URL|DIR") from error
    except RequestException as error:
        unknown_host(error, where)
        raise TransientError(innermost(error)) from error
    except KeyError as error:
        raise NetworkError(f"Google Drive's answer lacks {error}", where=where, fix="--mirror URL|DIR") from error
    except ValueError as error:  # a size that is no number, for instance
        raise NetworkError(
            f"Google Drive's answer is unexpected: {error}", where=where, fix="--mirror URL|DIR"
        ) from error


def _page(text: str, where: str) -> NetworkError:
    """Make the error for a web page that Drive sent in place of the file."""
    page = web_page(text.encode(), where)
    if "quota" in page.what:
        return page
    what = "Google Drive sent no file: the link is dead, or the file is no longer public"
    return NetworkError(what, where=where, fix="--mirror URL|DIR")
