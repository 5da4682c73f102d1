"""ComfyUI's websocket, as far as the tests need it: text events, and that previews come."""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.comfy.server import Server


class Listener:
    """Hears what the server tells one client.

    Attributes:
        events: (type, data) in the order of their coming. previews: how many pictures came.
    """

    def __init__(self, server: Server) -> None:
        self.client = f"listener-{os.getpid()}-{time.monotonic_ns()}"
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.previews = 0
        self._socket = socket.create_connection(("127.0.0.1", server.port))
        key = base64.b64encode(os.urandom(16)).decode()
        head = f"GET /ws?clientId={self.client} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        head += f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        self._socket.sendall(f"{head}Sec-WebSocket-Version: 13\r\n\r\n".encode())
        self._file = self._socket.makefile("rb")
        while self._file.readline().strip():
            pass
        self._thread = threading.Thread(target=self._hear, daemon=True)
        self._thread.start()

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def wait(self, kind: str, wanted: Callable[[dict[str, Any]], bool], seconds: float = 120) -> None:
        """Until an event of this kind comes that is wanted."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if any(name == kind and wanted(data) for name, data in self.events):
                return
            time.sleep(0.02)
        raise AssertionError(f"no {kind} in {seconds} s: {[name for name, _ in self.events]}")

    def _hear(self) -> None:
        while head := self._read(2):
            length = head[1] & 127
            if length > 125:
                length = struct.unpack(
                    ">H" if length == 126 else ">Q", self._read(2 if length == 126 else 8)
                )[0]
            body = self._read(length)
            if head[0] & 15 == 1:
                told = json.loads(body)
                self.events.append((told["type"], told.get("data", {})))
            elif head[0] & 15 == 2:
                self.previews += 1

    def _read(self, count: int) -> bytes:
        try:
            return self._file.read(count)
        except (OSError, ValueError):
            return b""
