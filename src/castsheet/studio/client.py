"""A small client of the studio's API, on the standard library alone.

client = Client.open("film")                    # a studio that runs on this machine, in this folder
client = Client("http://127.0.0.1:8187", token)
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from castsheet.errors import CastsheetError, EndpointError
from castsheet.machine.files import write_atomic

TIMEOUT_S = 60.0
POLL_S = 0.3
ENDED = frozenset(("done", "failed", "cancelled", "quarantined"))


class Refused(CastsheetError):
    """The studio refuses. `status` is the HTTP status."""

    status = 0


@dataclass(frozen=True)
class Client:
    """Asks one studio. Paths are those below `/api/v1`."""

    address: str
    token: str

    @classmethod
    def open(cls, folder: Path | str) -> Client:
        """The studio that runs in a folder of this machine.

        Raises:
            EndpointError: none runs there, or its token is somebody else's.
        """
        private = Path(folder) / ".studio"
        try:
            address = (private / "address").read_text(encoding="utf-8").strip()
            return cls(address, (private / "token").read_text(encoding="utf-8").strip())
        except OSError as error:
            raise EndpointError(
                f"no studio runs in {folder}: {error.strerror}", remedy=f"start it: castsheet studio {folder}"
            ) from error

    def get(self, path: str, **query: Any) -> Any:
        """What is at a path."""
        told = {name: value for name, value in query.items() if value is not None}
        return self._json("GET", f"{path}?{urllib.parse.urlencode(told)}" if told else path)

    def post(self, path: str, body: Any = None, *, key: str | None = None) -> Any:
        """Ask for something; with `key` a repeated call is the same call."""
        return self._json("POST", path, body, {"Idempotency-Key": key} if key else {})

    def put(self, path: str, body: Any, *, version: str | None) -> Any:
        """Write a whole: the version that was read, or with None a new one."""
        return self._json("PUT", path, body, {"If-Match": version} if version else {"If-None-Match": "*"})

    def patch(self, path: str, body: Any, *, version: str | None = None) -> Any:
        """Change some fields, of the version that was read where there are versions."""
        return self._json("PATCH", path, body, {"If-Match": version} if version else {})

    def version(self, path: str) -> str:
        """The ETag of what is at a path."""
        with self._ask("GET", path) as answer:
            return str(answer.headers["etag"])

    def add_picture(self, name: str, file: Path, *, kind: str = "character", look: str = "default") -> Any:
        """Add a picture to an element; the file's name may tell its view."""
        query = urllib.parse.urlencode({"label": file.name, "kind": kind})
        path = f"/elements/{name}/looks/{look}/pictures?{query}"
        with self._ask("POST", path, file.read_bytes()) as answer:
            return json.load(answer)

    def save(self, path: str, target: Path | str) -> Path:
        """Write what is at a path, such as a take's video, to a file."""

        def write(file: Path) -> None:
            with self._ask("GET", path) as answer, file.open("wb") as held:
                shutil.copyfileobj(answer, held)

        return write_atomic(Path(target), write)

    def wait(self, jobs: Sequence[str], seconds: float = 3600.0) -> list[dict[str, Any]]:
        """Wait until all jobs have ended; how they ended.

        Raises:
            EndpointError: it takes longer.
        """
        until = time.monotonic() + seconds
        while True:
            found = [self.get(f"/jobs/{name}") for name in jobs]
            if all(job["state"] in ENDED for job in found):
                return found
            if time.monotonic() > until:
                raise EndpointError("the jobs have not ended", remedy="wait longer, or look at the queue")
            time.sleep(POLL_S)

    def _json(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> Any:
        content = None if body is None else json.dumps(body).encode()
        with self._ask(
            method, path, content, {"Content-Type": "application/json", **(headers or {})}
        ) as answer:
            held = answer.read()
        return json.loads(held) if held else None

    def _ask(
        self, method: str, path: str, content: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> HTTPResponse:
        request = urllib.request.Request(
            f"{self.address.rstrip('/')}/api/v1{path}",
            data=content,
            method=method,
            headers={"Authorization": f"Bearer {self.token}", **(headers or {})},
        )
        try:
            answer: HTTPResponse = urllib.request.urlopen(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            raise _refusal(error) from error
        except OSError as error:
            raise EndpointError(
                f"the studio at {self.address} does not answer: {error}", remedy="see whether it still runs"
            ) from error
        return answer


def _refusal(error: urllib.error.HTTPError) -> Refused:
    try:
        told = json.load(error)
        refused = Refused(str(told["detail"]), remedy=str(told["remedy"]))
    except (ValueError, KeyError, TypeError):
        refused = Refused(f"status {error.code}", remedy="see /api/v1/openapi.json")
    refused.status = error.code
    return refused
