"""An OpenAI-compatible endpoint, asked with the standard library. The key stays in the environment.

Each request reads the key from its variable and sends it to the endpoint. The key goes nowhere else: not into
results, caches, messages or logs, not over plain http to another machine, and not after a redirect.
"""

from __future__ import annotations

import http.client
import ipaddress
import json
import os
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from castsheet.errors import EndpointError, shown
from castsheet.machine.json_text import parse_json

KEY_VARIABLE = "OPENAI_API_KEY"
_LARGEST = 64 << 20  # bytes of an answer; a picture of 4096 px is less than half of that


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers.

    Args:
        base: the address before `/chat/completions`, such as http://127.0.0.1:8080/v1.
        model: the model's name there.
        key_variable: the environment variable that holds the key; local servers need none.
        timeout: seconds without an answer.

    Raises:
        EndpointError: `base` is no http address, or holds a name, a password or a query.
    """

    base: str
    model: str
    key_variable: str = KEY_VARIABLE
    timeout: float = 300.0

    def __post_init__(self) -> None:
        try:
            url = urlsplit(self.base)
            host = url.hostname if url.port != 0 else None  # a port that is none is an error too
        except ValueError:
            host = None
        if not host or url.scheme not in ("http", "https"):
            raise EndpointError(
                f"{shown(self.base)} is no address", remedy="write it as http://127.0.0.1:8080/v1"
            )
        if url.username or url.password or url.query:
            raise EndpointError(
                "the endpoint's address holds a name, a password or a query",
                remedy=f"leave it out of the address and put the key into {self.key_variable}",
            )

    @property
    def name(self) -> str:
        """Address and model, for caches and provenance."""
        return f"{self.base.rstrip('/')} {self.model}"

    def post_json(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """The JSON object that the endpoint answers to `body` and the model's name.

        Raises:
            EndpointError: no answer, an error, or an answer that is not JSON.
        """
        data = json.dumps({"model": self.model, **body}).encode()
        return self._post(path, data, "application/json")

    def chat(self, content: Sequence[Mapping[str, Any]], tokens: int) -> str:
        """The text that the model answers to one message.

        Args:
            content: parts of the message: texts and addresses of pictures.
            tokens: of the answer, at most.

        Raises:
            EndpointError: as `post_json`, or an answer without text.
        """
        body = {"messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": tokens}
        told = self.post_json("/chat/completions", body)
        try:
            text = told["choices"][0]["message"]["content"]
        except (KeyError, IndexError, TypeError):
            text = None
        if not isinstance(text, str):
            raise EndpointError(
                f"{self.base} answered without text", remedy="use a model that reads pictures and chats"
            )
        return text

    def post_form(self, path: str, fields: Mapping[str, str], files: Mapping[str, bytes]) -> dict[str, Any]:
        """The JSON object that the endpoint answers to a form: fields, the model's name, PNG files by name.

        Raises:
            EndpointError: as `post_json`.
        """
        boundary = uuid.uuid4().hex
        parts = []
        for name, value in {"model": self.model, **fields}.items():
            parts.append(f'Content-Disposition: form-data; name="{name}"\r\n\r\n{value}'.encode())
        for name, content in files.items():
            head = f'Content-Disposition: form-data; name="{name}"; filename="{name}.png"\r\n'
            parts.append(f"{head}Content-Type: image/png\r\n\r\n".encode() + content)
        body = b"".join(b"--" + boundary.encode() + b"\r\n" + part + b"\r\n" for part in parts)
        return self._post(
            path, body + b"--" + boundary.encode() + b"--\r\n", f"multipart/form-data; boundary={boundary}"
        )

    def _post(self, path: str, data: bytes, kind: str) -> dict[str, Any]:
        url = f"{self.base.rstrip('/')}{path}"
        key = os.environ.get(self.key_variable, "")
        headers = {"Content-Type": kind, "Accept": "application/json"}
        if key:
            if urlsplit(url).scheme == "http" and not self._local:
                raise EndpointError(
                    f"{self.base} is plain http on another machine: the key would be readable on the way",
                    remedy=f"use https, or unset {self.key_variable}",
                )
            headers["Authorization"] = f"Bearer {key}"
        # A proxy has no way to this machine's own servers.
        handlers: list[urllib.request.BaseHandler] = [_NoRedirect()]
        handlers += [urllib.request.ProxyHandler({})] if self._local else []
        request = urllib.request.Request(url, data, headers, method="POST")
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=self.timeout) as answer:
                content = answer.read(_LARGEST + 1)
        except urllib.error.HTTPError as error:
            told = _message(error.read(1 << 16))
            raise self._failed(f"{url} answered {error.code} {error.reason}: {told}", key) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise self._failed(f"{url} does not answer: {reason}", key) from None
        except ValueError:  # of a header or a name; what it says may hold the key, written otherwise
            what = f"{url}, or the key in {self.key_variable}, holds letters that HTTP cannot send"
            raise self._failed(what, key) from None
        try:
            found = parse_json(content.decode("utf-8-sig"))
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise self._failed(f"{url} answered {len(content)} bytes that are no JSON object", key)
        return found

    @property
    def _local(self) -> bool:
        host = urlsplit(self.base).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def _failed(self, what: str, key: str) -> EndpointError:
        # Some servers repeat the key that they refuse. The cause may hold the key too, so callers drop it.
        told = what.replace(key, "***") if key else what
        remedy = f"check the address and the model {self.model!r}, and the key in {self.key_variable}"
        return EndpointError(told, remedy=remedy)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treats a redirect as an error: following it would send the key to another address."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _message(content: bytes) -> str:
    """What an error answer says: its `error` or `message`, else its first 300 characters."""
    try:
        told = parse_json(content.decode())["error"]
        told = told["message"] if isinstance(told, dict) else told
    except (ValueError, KeyError, TypeError):
        told = content.decode(errors="replace")
    return " ".join(str(told).split())[:300] or "nothing"
