"""How the child gets bytes: urllib3 behind TUF's fetcher interface; bundles are resumed where they broke off.

Invariants:
1. Nothing is read beyond what TUF allows for a file, and nothing is kept of what does not fit.
2. A partial download is only ever continued by a server that says it continues at exactly that byte; what comes together is
   verified as a whole, and thrown away as a whole if it does not verify.
3. A download that makes no headway is given up: by the gap between two bytes here, by a deadline over all of it in the agent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Final

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from agent.uplink.tls import trusting

_CHUNK_BYTES: Final = 64 * 1024
_TRIES: Final = 3  # in a row without a new byte
_RANGE: Final = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class ResumingFetcher(FetcherInterface):
    """`part`: where the target that is being fetched is gathered. Other files are small and come anew each time."""

    def __init__(self, targets_url: str, part: Path, timeout_s: float, ca_file: str = "") -> None:
        self._targets_url = targets_url
        self._part = part
        context = trusting(Path(ca_file) if ca_file else None) if targets_url.startswith("https:") else None
        self._pool = urllib3.PoolManager(
            ssl_context=context, retries=False, timeout=urllib3.Timeout(timeout_s), headers={"User-Agent": "tocsin"}
        )

    def _fetch(self, url: str) -> Iterator[bytes]:
        response = self._request(url, {})
        return self._chunks(response)

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO[bytes]]:
        """See `FetcherInterface.download_file`; for targets the file is the partial one, which stays until it is verified."""
        if not url.startswith(self._targets_url):
            with super().download_file(url, max_length) as file:
                yield file
            return
        with self._part.open("a+b") as file:
            self._complete(file, url, max_length)
            file.flush()
            file.seek(0)
            yield file

    def _complete(self, file: IO[bytes], url: str, max_length: int) -> None:
        """Fetch what is missing. Raises DownloadError after some tries without headway."""
        tries = 0
        while (size := file.seek(0, 2)) < max_length:
            try:
                self._continue(file, url, max_length)
            except DownloadLengthMismatchError:
                raise
            except DownloadError as error:
                status = error.status_code if isinstance(error, DownloadHTTPError) else None
                if status == 416 and size:  # what is here is more than the server has: begin anew
                    file.truncate(0)
                tries = tries + 1 if file.seek(0, 2) <= size else 0
                if tries >= _TRIES or status not in (None, 416):
                    raise
            else:
                return  # the server has said all; whether it is right the caller checks

    def _continue(self, file: IO[bytes], url: str, max_length: int) -> None:
        size = file.seek(0, 2)
        response = self._request(url, {"Range": f"bytes={size}-"} if size else {})
        if size and not _continues_at(response, size):
            file.truncate(0)  # the whole of it, from a server that does not do parts
            if response.status == 206:
                response.close()
                raise DownloadError(f"{url}: another part than was asked for")
            size = 0
        for chunk in self._chunks(response):
            size += len(chunk)
            if size > max_length:
                raise DownloadLengthMismatchError(f"{url}: more than {max_length} bytes")
            file.write(chunk)

    def _request(self, url: str, headers: dict[str, str]) -> urllib3.BaseHTTPResponse:
        try:
            response = self._pool.request(
                "GET", url, headers={"Accept-Encoding": "identity", **headers}, preload_content=False, redirect=False
            )
        except urllib3.exceptions.TimeoutError as error:
            raise SlowRetrievalError(f"{url}: {error}") from error
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(f"{url}: {error}") from error
        if response.status not in (200, 206):
            response.close()
            raise DownloadHTTPError(f"{url}: {response.status}", response.status)
        return response

    def _chunks(self, response: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
        try:
            yield from response.stream(_CHUNK_BYTES, decode_content=False)
        except urllib3.exceptions.TimeoutError as error:
            raise SlowRetrievalError(str(error)) from error
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(str(error)) from error
        finally:
            response.close()


def _continues_at(response: urllib3.BaseHTTPResponse, size: int) -> bool:
    said = _RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return response.status == 206 and said is not None and int(said[1]) == size
