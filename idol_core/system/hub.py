"""Download files of Hugging Face repositories over HTTPS, checked against the size and hash that the hub states.

Our own transfer is used rather than the package huggingface_hub: it resumes, needs no second cache, and checks the
SHA-256 of what arrived.
"""

from __future__ import annotations

import http.client
import os
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from idol_core.errors import Integrity, InvalidInput, NetworkError
from idol_core.system.download import Progress, Say, download, innermost, passes, say_on_stderr
from idol_core.system.files import sha256_of
from idol_core.system.stand_ins import refuse_stand_in

PREFIX = "hf:"
WEIGHTS = "weights.safetensors"  # the file of a repository that its name alone stands for
FORM = "hf:USER/NAME[@REVISION][/PATH]"
_NAME = r"[A-Za-z0-9_][\w.-]*"
_PLACE = re.compile(rf"hf:(?P<repo>{_NAME}/{_NAME})(@(?P<revision>{_NAME}))?(/(?P<path>{_NAME}(/{_NAME})*))?", re.ASCII)


@dataclass(frozen=True)
class HubCopy:
    """Size in bytes and SHA-256 of a file, as the hub's page of it states them; None where not seen."""

    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class HubPlace:
    """A file of a Hugging Face repository at a revision (a branch, a tag or a commit)."""

    repository: str
    revision: str
    path: str

    @classmethod
    def parse(cls, text: str) -> HubPlace:
        """Read hf:USER/NAME[@REVISION][/PATH]; default: weights.safetensors of main. Raises InvalidInput."""
        found = _PLACE.fullmatch(text)
        if found is None:
            raise InvalidInput(f"'{text}' names no file of a Hugging Face repository", where=text, fix=FORM)
        return cls(found["repo"], found["revision"] or "main", found["path"] or WEIGHTS)

    @property
    def url(self) -> str:
        """Where the hub answers for the file: at $HF_ENDPOINT, else huggingface.co."""
        return f"{endpoint()}/{self.repository}/resolve/{self.revision}/{quote(self.path)}"

    def __str__(self) -> str:
        return f"{PREFIX}{self.repository}@{self.revision}/{self.path}"


def endpoint() -> str:
    """Address of the hub: $HF_ENDPOINT, else https://huggingface.co."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


@dataclass
class Answer:
    """What the hub says of a file in its first answer, before it redirects to where the bytes are."""

    size: int | None = None
    sha256: str | None = None  # of files in Git LFS; the others have no such hash
    commit: str | None = None
    refused: int | None = None  # HTTP status of an answer that is no file

    def read(self, headers: Any) -> None:
        """Take over the headers X-Linked-Size, X-Linked-ETag and X-Repo-Commit."""
        size, tag = headers.get("X-Linked-Size", ""), headers.get("X-Linked-ETag", "").removeprefix("W/").strip('"')
        self.size = int(size) if re.fullmatch(r"[0-9]{1,15}", size) else self.size
        self.sha256 = tag if re.fullmatch(r"[0-9a-f]{64}", tag) else self.sha256
        commit = headers.get("X-Repo-Commit", "")
        self.commit = commit if re.fullmatch(r"[0-9a-f]{40}", commit) else self.commit

    def require(self, known: HubCopy, where: str) -> None:
        """Raise Integrity if the hub announces another size or hash than is known."""
        for what, announced, expected in (
            ("bytes", self.size, known.size),
            ("sha256", self.sha256, known.sha256),
        ):
            if None not in (announced, expected) and announced != expected:
                told = f"this is another file: {what} {announced}, where {expected} is stated"
                raise Integrity(told, where=where, fix="get it from a source that you trust; nothing was kept")


def hub_file(
    place: HubPlace,
    part: Path,
    *,
    known: HubCopy | None = None,
    timeout: float,
    progress: Progress,
    say: Say = say_on_stderr,
) -> Answer:
    """Download a file to `part`; bytes that are already in `part` are not downloaded again.

    Size and SHA-256 must be those that the hub announces, and those that are `known`. $HF_TOKEN, if set, is sent to the
    hub, and to no other host that it redirects to.

    Raises NetworkError as `download` does, Integrity (`part` is then removed) for another file than announced or known,
    IdolError for too little disk space.
    """
    known, answer = known or HubCopy(), Answer()
    hops = _Hops(place, known, answer)
    opener = urllib.request.build_opener(hops)

    def open_url(request: urllib.request.Request, timeout: float) -> Any:
        hops.authorize(request)
        try:
            response = opener.open(request, timeout=timeout)
        except urllib.error.HTTPError as error:
            if _origin(error.url) == _origin(endpoint()):
                answer.refused = error.code
            raise
        if response.url == place.url:  # small files are sent without a redirect
            answer.read(response.headers)
            answer.require(known, str(place))
        return response

    try:
        download(place.url, part, timeout=timeout, progress=progress, say=say, open_url=open_url)
    except NetworkError as error:
        if answer.refused in (401, 403, 404):
            raise _refused(place, answer.refused) from error
        raise
    _check(part, place, known, answer)
    return answer


def ask_hub(place: HubPlace, *, timeout: float) -> Answer:
    """Ask for a file's commit, size and hash, without its content. Raises NetworkError."""
    answer = Answer()
    hops = _OnlyAsk(place, HubCopy(), answer)
    request = urllib.request.Request(place.url, method="HEAD", headers={"User-Agent": "idolctl"})
    hops.authorize(request)
    try:
        with urllib.request.build_opener(hops).open(request, timeout=timeout) as response:
            answer.read(response.headers)
    except urllib.error.HTTPError as error:
        if error.code in (301, 302, 303, 307, 308):
            return answer
        if passes(error.code):
            raise NetworkError(f"HTTP {error.code}", where=str(place), fix=_AGAIN, transient=True) from error
        raise _refused(place, error.code) from error
    except ValueError as error:  # a redirect to what is no address
        raise NetworkError(f"the hub's answer is not understood: {error}", where=str(place), fix=_AGAIN) from error
    except (OSError, http.client.HTTPException) as error:
        raise NetworkError(f"no answer: {innermost(error)}", where=str(place), fix=_AGAIN, transient=True) from error
    return answer


def _refused(place: HubPlace, status: int) -> NetworkError:
    if status in (401, 403, 404):
        what = f"the hub has no such public file (HTTP {status})"
        return NetworkError(what, where=str(place), fix="check the name; for a private repository set HF_TOKEN")
    return NetworkError(f"the hub says HTTP {status}", where=str(place), fix=_AGAIN)


_AGAIN = "try again later, or set HF_ENDPOINT to a mirror of the hub"


def _check(part: Path, place: HubPlace, known: HubCopy, answer: Answer) -> None:
    arrived = Answer(part.stat().st_size, sha256_of(part))
    try:
        for expected in (known, HubCopy(answer.size, answer.sha256)):
            arrived.require(expected, str(place))
        refuse_stand_in(part, where=str(place))
    except Integrity:
        part.unlink()
        raise


class _Hops(urllib.request.HTTPRedirectHandler):
    """Follows the hub's redirects: reads what its first answer says, keeps the token from other hosts."""

    def __init__(self, place: HubPlace, known: HubCopy, answer: Answer) -> None:
        self.place, self.known, self.answer = place, known, answer

    def authorize(self, request: urllib.request.Request) -> None:
        """Add $HF_TOKEN, if set, to a request to the hub itself."""
        token = os.environ.get("HF_TOKEN", "").strip()
        if token and _origin(request.full_url) == _origin(endpoint()):
            request.add_unredirected_header("Authorization", f"Bearer {token}")

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """Follow to http(s) addresses, never from https to http."""
        if _origin(req.full_url) == _origin(endpoint()):
            self.answer.read(headers)
            self.answer.require(self.known, str(self.place))
        schemes = urlsplit(req.full_url).scheme, urlsplit(newurl).scheme
        if schemes[1] not in ("http", "https") or schemes == ("https", "http"):
            what = f"the hub redirects to an address that is not safe ({schemes[1]}:)"
            raise NetworkError(what, where=str(self.place), fix="check HF_ENDPOINT")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        if request is not None:
            self.authorize(request)
        return request


class _OnlyAsk(_Hops):
    """Follows redirects within the hub (of renamed repositories), not those to the bytes."""

    def redirect_request(
        self, req: urllib.request.Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        """None ends in an HTTPError with the redirect's status."""
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        return request if _origin(newurl) == _origin(endpoint()) and self.answer.commit is None else None


def _origin(url: str) -> tuple[str, str]:
    return urlsplit(url).scheme, urlsplit(url).netloc
