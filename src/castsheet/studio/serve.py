"""Starts a studio: folder, queue, worker and web server, and the browser with a one-time token."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import webbrowser
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import uvicorn
from fastapi import FastAPI

from castsheet.errors import SettingsError
from castsheet.machine.files import write_text
from castsheet.machine.heap import few_arenas
from castsheet.machine.locks import Say
from castsheet.studio.app import Lifespan, guarded
from castsheet.studio.folder import Folder
from castsheet.studio.keeper import Keeper, gpus
from castsheet.studio.on_ray import RayHands
from castsheet.studio.queue import Queue
from castsheet.studio.state import Studio
from castsheet.studio.store import Store
from castsheet.studio.tokens import Tokens

PORT = 8187


@dataclass(frozen=True)
class Place:
    """Where a studio listens.

    Attributes:
        listen: an address of this machine; other machines reach a studio only if this is not loopback.
        host_names: further names under which it may be asked for.
        certificate, key: files for HTTPS; needed where it is not loopback.
    """

    listen: str = "127.0.0.1"
    port: int = PORT
    host_names: tuple[str, ...] = ()
    certificate: Path | None = None
    key: Path | None = None

    def check(self) -> None:
        """Refuse a place that would send the token over the network in the clear.

        Raises:
            SettingsError: not an address; or not loopback, and without a certificate or a name.
        """
        try:
            address = ipaddress.ip_address(self.listen)
        except ValueError as error:
            raise SettingsError(
                f"--listen {self.listen} is no address",
                remedy="give 127.0.0.1, or an address of this machine",
            ) from error
        if address.is_loopback:
            return
        if self.certificate is None or self.key is None:
            raise SettingsError(
                f"--listen {self.listen} would send the token over the network in the clear",
                remedy="give --certificate and --key, or listen on 127.0.0.1 behind an SSH tunnel",
            )
        if not self.host_names:
            raise SettingsError(
                f"--listen {self.listen} without a name", remedy="give the --host-name that browsers ask for"
            )

    @property
    def scheme(self) -> str:
        """https with a certificate."""
        return "http" if self.certificate is None else "https"


def hosts(place: Place, port: int) -> frozenset[str]:
    """The values of Host that are ours, letter by letter."""
    names = ("127.0.0.1", "localhost", "[::1]", *place.host_names)
    bare = {f"{name}:{port}" for name in names}
    return frozenset(bare | (set(names) if port in (80, 443) else set()))


def serve(
    root: Path,
    *,
    place: Place,
    model: str,
    loading: Mapping[str, Any],
    say: Say,
    page: bool = True,
    browser: bool = True,
    workers: int | None = None,
    ray_address: str | None = None,
) -> None:
    """Serve a studio until it is stopped.

    Args:
        workers: processes with a model each; None is one for each GPU, and one without a GPU.
        ray_address: of a Ray cluster that starts the workers on this machine; "local" starts one.
        loading: fields of `castsheet.loading.options.Loading`.
        page: whether to serve the page beside the API.
        browser: whether to open it.

    Raises:
        OutputError: the folder is somebody else's, or in use by another studio.
        SettingsError: the place cannot be listened at.
    """
    place.check()
    few_arenas()
    folder = Folder(root.absolute())
    listener = _listener(place)
    port = int(listener.getsockname()[1])
    with listener, folder.held(say):
        store = Store(folder.queue)
        tokens = Tokens(store, folder.private / "token", port)
        studio = Studio(folder, Queue(store), tokens, model)
        count = workers or max(1, gpus())
        keepers: list[Hands] = [
            Keeper(folder, studio.queue, model, loading, number) for number in range(count)
        ]
        if ray_address is not None:
            keepers = [RayHands(folder, studio.queue, model, loading, count, ray_address)]
        address = f"{place.scheme}://127.0.0.1:{port}/"
        life = _life(studio, keepers, address, say, browser=page and browser)
        config = uvicorn.Config(
            guarded(studio, hosts(place, port), page=page, lifespan=life),
            log_level="warning",
            access_log=False,  # an address may hold the one-time token
            server_header=False,
            timeout_graceful_shutdown=3,
            limit_concurrency=1000,
            ssl_certfile=None if place.certificate is None else str(place.certificate),
            ssl_keyfile=None if place.key is None else str(place.key),
        )
        try:
            uvicorn.Server(config).run(sockets=[listener])
        finally:  # Ctrl-C comes out of the server as an exception
            (folder.private / "address").unlink(missing_ok=True)
            store.close()


class Hands(Protocol):
    """What keeps workers alive."""

    def start(self) -> None:
        """Start the workers."""

    def stop(self) -> None:
        """Let them give their jobs back, and end them."""


def _life(studio: Studio, keepers: Sequence[Hands], address: str, say: Say, *, browser: bool) -> Lifespan:
    """What happens when the server stands, and when it stops."""

    @asynccontextmanager
    async def life(_app: FastAPI) -> AsyncIterator[None]:
        private, opening = studio.folder.private, f"{address}?token={studio.tokens.launch}"
        write_text(private / "address", f"{address}\n")
        studio.queue.lost(None, "the studio or the machine stopped")  # what an earlier one's workers held
        for keeper in keepers:
            keeper.start()
        say(f"studio: {opening}")
        say(f"token for programs: {private / 'token'}; Ctrl-C stops the studio")
        if browser:
            threading.Thread(target=webbrowser.open, args=(opening,), daemon=True).start()
        yield
        await asyncio.gather(*(asyncio.to_thread(keeper.stop) for keeper in keepers))

    return life


def _listener(place: Place) -> socket.socket:
    family = socket.AF_INET6 if ":" in place.listen else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((place.listen, place.port))
        listener.listen(128)  # who asks before the server is ready waits, and is not refused
    except OSError as error:
        listener.close()
        raise SettingsError(
            f"{place.listen}:{place.port} cannot be listened at: {error.strerror}",
            remedy="give another --port; 0 takes a free one",
        ) from error
    return listener
