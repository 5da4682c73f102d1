"""The report of a fault of Castsheet itself: a text file that its user can send without looking for secrets.

It holds versions, the command line without its texts and paths, and the traceback without the values of
variables. Home and working folder, and what looks like a password in the environment, are replaced.
"""

from __future__ import annotations

import os
import platform
import re
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from castsheet.machine.files import cache_folder, write_text

WHERE = "open an issue where you got Castsheet from, and attach this file"
_KEPT = 20  # reports; older ones are removed
_SECRET = re.compile(r"token|secret|passw|credential|api_?key|access_?key", re.IGNORECASE)
_HARMLESS = re.compile(r"-[-\w]*|[-+\d.,:x]+")  # options and numbers
_COMMAND = re.compile(r"[a-z]{1,12}")
_ENDING = re.compile(r"(\.\w{1,12})(?::[\d.]+)?$")


def report(error: BaseException, arguments: Sequence[str]) -> str:
    """The report's text.

    Args:
        arguments: the command line, without the program's name.
    """
    trace = "".join(traceback.format_exception(error, limit=-60))
    if len(trace) > 40_000:
        trace = f"{trace[:20_000]}\n...\n{trace[-20_000:]}"
    lines = [
        f"Castsheet {_version('castsheet')}: a fault of the program itself",
        f"{datetime.now(UTC).isoformat(timespec='seconds')}",
        "",
        f"Python    {platform.python_version()} ({platform.python_implementation()})",
        f"system    {platform.system()} {platform.release()} {platform.machine()}",
        f"packages  {', '.join(f'{name} {_version(name)}' for name in _packages())}",
        f"command   castsheet {' '.join(masked(arguments))}",
        "",
        trace,
    ]
    return _without_secrets("\n".join(lines), arguments)


def save(error: BaseException, arguments: Sequence[str]) -> Path | None:
    """Write the report into the cache folder, or else where temporary files go; None if neither takes it."""
    name = f"fault-{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}.txt"
    text = report(error, arguments)
    for folder in (cache_folder() / "reports", Path(tempfile.gettempdir()) / "castsheet-reports"):
        with suppress(Exception):
            path = write_text(folder / name, text)
            for old in sorted(folder.glob("fault-*.txt"))[:-_KEPT]:
                old.unlink()
            return path
    return None


def masked(arguments: Sequence[str]) -> Iterator[str]:
    """A command line of which commands, options and numbers stay; of the rest, length and ending are told."""
    for place, word in enumerate(arguments):
        option, equals, value = word.partition("=")
        if place < 2 and _COMMAND.fullmatch(word):
            yield word
        elif word.startswith("--") and equals:
            yield f"{option}={_mask(value)}"
        else:
            yield _mask(word)


def _mask(word: str) -> str:
    if _HARMLESS.fullmatch(word):
        return word
    ending = _ENDING.search(word)
    kind = f"a text, {ending[1]}" if ending else "a text"
    return f"<{kind}, {len(word)} letters>"


def _without_secrets(text: str, arguments: Sequence[str]) -> str:
    values = [word.partition("=")[2] if word.startswith("--") else word for word in arguments]
    values = [value for value in values if not _COMMAND.fullmatch(value)]
    hidden = {value: _mask(value) for value in values if value and not _HARMLESS.fullmatch(value)}
    hidden |= {value: "<hidden>" for name, value in os.environ.items() if _SECRET.search(name) and value}
    for folder, name in ((Path.cwd, "."), (Path.home, "~")):
        with suppress(OSError, RuntimeError):
            hidden.setdefault(str(folder()), name)
    for value in sorted((one for one in hidden if len(one) > 3), key=len, reverse=True):
        text = text.replace(value, hidden[value])
    # What stands within quotes in a message may be a piece of a scene.
    return re.sub(r"(['\"])([^'\"\n]{60,})\1", lambda found: f"<a text, {len(found[2])} letters>", text)


def _packages() -> list[str]:
    """The installed packages that this one needs, or can use."""
    try:
        wanted = metadata.requires("castsheet") or []
    except metadata.PackageNotFoundError:
        wanted = ["torch", "numpy", "pillow", "av", "diffusers", "transformers", "safetensors"]
    names = {re.split(r"[^\w.-]", line, maxsplit=1)[0] for line in wanted} - {"castsheet"}
    return sorted(name for name in names if _version(name))


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def told(error: BaseException, arguments: Sequence[str]) -> str:
    """What the user is told about a fault, which is saved."""
    kind = type(error).__name__
    path = save(error, arguments)
    if path is None:
        return (
            f"error: this is a fault of Castsheet, not of yours: {kind}\n"
            "  fix: its report could not be saved: run again with --debug, and send what it shows: "
            "open an issue where you got Castsheet from\n"
        )
    return (
        f"error: this is a fault of Castsheet, not of yours: {kind}\n"
        f"  fix: {WHERE}: {path}\n"
        "  The file holds versions, options and where the program stopped. Texts and paths that you gave are "
        "left out.\n"
    )
