"""What the web process holds: the folder, the queue, the tokens, and what is known of the model."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request

from castsheet.authoring.library import Library
from castsheet.errors import SettingsError, shown
from castsheet.loading.bundle import BUNDLE_FILE, MINI, Bundle
from castsheet.machine.regular import is_file
from castsheet.settings import Settings, override, preset
from castsheet.studio.bell import Bell
from castsheet.studio.folder import Folder
from castsheet.studio.people import Who
from castsheet.studio.problems import NotYet
from castsheet.studio.queue import Queue
from castsheet.studio.tokens import Tokens
from castsheet.studio.undo import Undo

HEAVY = 2  # pictures that are cut out, or sheets that are composed, at the same time


@dataclass(frozen=True)
class Studio:
    """One studio.

    Attributes:
        model: as the user named it: mini, a bundle's folder, or a checkpoint.
        heavy: taken by work on pictures, which would otherwise fill the memory.
    """

    folder: Folder
    queue: Queue
    tokens: Tokens
    model: str = "mini"
    heavy: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(HEAVY))

    @cached_property
    def bell(self) -> Bell:
        """Wakes the streams of events."""
        return Bell(self.queue)

    @cached_property
    def undo(self) -> Undo:
        """The changes that can be taken back."""
        return Undo(self.folder)

    @property
    def library(self) -> Library:
        """The elements."""
        return Library(self.folder.library)

    def known(self) -> dict[str, Any]:
        """What the worker told of the model: name, width, height, cell, frames, fps, steps.

        Raises:
            NotYet: the worker has not opened this model yet.
        """
        told = self.queue.store.note("model")
        if not isinstance(told, dict) or told.get("asked") != self.model:
            raise NotYet("the model is being opened", remedy="wait some seconds and ask again")
        return told

    def usual(self, name: str | None) -> Settings:
        """A preset at the model's own size; None means the model's usual one.

        Raises:
            SettingsError: there is no such preset.
            CheckpointError: the bundle is damaged.
        """
        path = MINI if self.model == "mini" else Path(self.model)
        if self.model == "mini" or is_file(path / BUNDLE_FILE):
            return Bundle.load(path).settings(name)
        return preset("card" if name is None else name)

    def refuse(self, name: str | None, asked: Mapping[str, Any], known: Mapping[str, Any]) -> None:
        """Refuse settings that cannot be, before a job waits for its turn with them.

        Args:
            name: the preset. asked: what somebody asks for. known: what the scene's own file says.

        Raises:
            SettingsError: a setting is wrong; or it names a file, which no request may.
        """
        usual = self.usual(name)
        files = set(override(usual, {**known, **asked}).further_adapters)
        if strange := files - set(override(usual, known).further_adapters):
            raise SettingsError(
                f"the settings add {shown(sorted(strange)[0])}, and a request names no file",
                remedy="choose the adapter of a training run, or write it into the scene's file",
            )


def _studio(request: Request) -> Studio:
    found: Studio = request.app.state.studio
    return found


Here = Annotated[Studio, Depends(_studio)]


def _who(request: Request) -> Who:
    who: Who = request.state.session
    return who


Asker = Annotated[Who, Depends(_who)]
