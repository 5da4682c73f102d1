"""The hub library (huggingface_hub): how it is called, and its errors in words with what to do."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from castsheet import __version__
from castsheet.errors import DownloadError
from castsheet.ltx.releases import PublishedFile
from castsheet.machine.text import json_if_any

Report = Callable[[int], None]  # called with the number of bytes done


def headers() -> dict[str, str]:
    """The token of a user who is logged in, and no compression: byte ranges must count the file's bytes."""
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers(library_name="castsheet", library_version=__version__)
    return {**headers, "Accept-Encoding": "identity"}


def bar_class(report: Report) -> type:
    """A class for the hub library to use as its progress bar; it calls `report`."""

    class Bar:
        def __init__(self, *_args: Any, initial: int = 0, **_options: Any) -> None:
            self.done = initial

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_error: object) -> None:
            return None

        def update(self, amount: float | None = 1) -> None:
            self.done += int(amount or 0)
            report(self.done)

    return Bar


@contextmanager
def hub_errors(source: PublishedFile) -> Iterator[None]:
    """Inside the block the hub library's errors become DownloadErrors that say what to do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    # The library uses httpx in 1.x and httpx2 in 2.x; its error derives from their common base.
    transport_error: type[BaseException] = HfHubHTTPError.__bases__[0]
    transport = sys.modules[transport_error.__module__.partition(".")[0]]
    accept = (
        f"open {source.page} in a browser, accept the licence, then run `hf auth login` with a read token "
        "of the same account, and run this again"
    )
    try:
        yield
    except GatedRepoError as error:
        what = f"{source.repo} is gated and this account has no access"
        raise DownloadError(what, remedy=accept) from error
    except RepositoryNotFoundError as error:
        raise DownloadError(
            f"{source.repo} does not exist, or is gated and you are not logged in",
            remedy=f"{accept}; another repository is named with --repo {source.role}=OWNER/NAME",
        ) from error
    except EntryNotFoundError as error:
        raise DownloadError(
            f"{source.repo} has no file {source.file}",
            remedy=f"look at {source.page}/tree/main and name the file with --file {source.role}=NAME",
        ) from error
    except OfflineModeIsEnabled as error:
        raise DownloadError("offline mode is on (HF_HUB_OFFLINE)", remedy="unset HF_HUB_OFFLINE") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        remedy = accept if status in (401, 403) else "try again later"
        raise DownloadError(f"{source.repo}: the hub answered with status {status}", remedy=remedy) from error
    except transport_error as error:
        raise DownloadError(
            f"{source.repo}: the connection failed ({error})",
            remedy="check network, proxy and HF_ENDPOINT, then run the same command to continue",
        ) from error
    except HFValidationError as error:
        what = str(error).splitlines()[0][:200]
        raise DownloadError(
            f"{source.repo!r} names no repository: {what}",
            remedy=f"name one with --repo {source.role}=OWNER/NAME",
        ) from error
    except PermissionError as error:
        raise DownloadError(
            f"the hub library cannot read {error.filename}",
            remedy="make the file readable, or set HF_HOME to a folder of yours",
        ) from error
    except transport.InvalidURL as error:
        raise DownloadError(f"HF_ENDPOINT is no address: {error}", remedy="correct HF_ENDPOINT") from error
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, RecursionError) as error:
        raise _not_the_hub(source, error) from error


def _not_the_hub(source: PublishedFile, error: Exception) -> DownloadError:
    """The error for an answer, or a cached answer, that the hub library cannot read."""
    from huggingface_hub import constants

    what = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    cached = Path(getattr(constants, "AGENT_HARNESSES_PATH", ""))
    remedy = "unset HF_ENDPOINT, or point it at a server that speaks the hub's protocol"
    if cached.is_file() and not _is_registry(cached):
        remedy += f"; and delete {cached}, a damaged cache of the hub library"
    return DownloadError(f"{source.repo}: the server's answer cannot be read ({what})", remedy=remedy)


def _is_registry(path: Path) -> bool:
    """Whether the hub library can read its list of programs that call it, which it keeps for a day."""
    content = json_if_any(path)
    return isinstance(content, dict) and isinstance(content.get("harnesses", {}), dict)
