"""Fetch the 22B model's files: resumable over restarts, checked against the hub's hashes, whole or absent.

The hub library (2.x) drops a partial file when its process ends, and compares sizes only. That is not enough
for 72 GB. Here a partial file stays under a hidden name that holds the content's hash, and a later run
continues it. The finished file is hashed before it gets its real name.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from castsheet import __version__
from castsheet.errors import DownloadError
from castsheet.ltx.family import DEFAULT, FAMILIES
from castsheet.ltx.releases import PublishedFile, Release, Role, Variant
from castsheet.machine.files import write_text

Report = Callable[[int], None]  # called with the number of bytes done

GIB = 1 << 30
# The hub serves no larger file over plain HTTP, and only plain HTTP downloads can be resumed here.
MAX_FILE = 50_000_000_000


def released(family: str) -> Release:
    """What a family's released model consists of.

    Raises:
        DownloadError: no such family, or one that does not run.
    """
    release = FAMILIES[family].release if family in FAMILIES else None
    if release is None:
        able = ", ".join(name for name, one in FAMILIES.items() if one.release is not None)
        raise DownloadError(f"nothing to download for the family {family!r}", remedy=f"choose one of {able}")
    return release


SOURCES: dict[Role, PublishedFile] = {file.role: file for file in released(DEFAULT.name).files}


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub announces it, and where it goes."""

    source: PublishedFile
    name: str
    url: str
    size: int
    etag: str  # SHA-256 of large files, git blob SHA-1 of small ones
    path: Path

    @property
    def part(self) -> Path:
        """The partial file. A new version on the hub has another hash, so its download starts afresh."""
        return self.path.with_name(f".{self.path.name}.{self.etag[:16]}.part")

    @property
    def present(self) -> bool:
        """Whether the finished file is here (by size; it was hashed when it was downloaded)."""
        return self.path.is_file() and self.path.stat().st_size == self.size

    @property
    def missing_bytes(self) -> int:
        """How many bytes are still to be fetched."""
        if self.present:
            return 0
        return self.size - (self.part.stat().st_size if self.part.is_file() else 0)


def sources(
    only: Sequence[Role] = (),
    repos: Mapping[Role, str] | None = None,
    files: Mapping[Role, str] | None = None,
    *,
    family: str = DEFAULT.name,
    variant: str | None = None,
) -> list[PublishedFile]:
    """The sources of these roles (by default all), with repositories and file names overridden by role.

    Args:
        variant: which of a family's denoisers, where there are several.

    Raises:
        DownloadError: no such family or variant, or a variant must be named and is not.
    """
    release, named = released(family), dict(files or {})
    if variant is not None or (
        release.variants and "checkpoint" not in named and "checkpoint" in (only or ("checkpoint",))
    ):
        named["checkpoint"] = _variant(release, family, variant).file
    chosen = []
    for source in release.files:
        if not only or source.role in only:
            repo = (repos or {}).get(source.role, source.repo)
            chosen.append(replace(source, repo=repo, file=named.get(source.role, source.file)))
    return chosen


def _variant(release: Release, family: str, name: str | None) -> Variant:
    if name is None or name not in release.variants:
        known = ", ".join(release.variants) or "none"
        what = f"{family} has several denoisers" if name is None else f"{family} has no variant {name!r}"
        raise DownloadError(
            f"{what}: {known}", remedy=f"name one: --variant {next(iter(release.variants), 'NAME')}"
        )
    return release.variants[name]


def look_up(wanted: Sequence[PublishedFile], folder: Path) -> list[RemoteFile]:
    """Ask the hub for the size and hash of every file wanted. Fetches no content.

    Raises:
        DownloadError: licence not accepted, not logged in, no such repository or file, no network.
    """
    from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url
    from huggingface_hub.hf_api import RepoFile

    found: list[RemoteFile] = []
    for source in wanted:
        with hub_errors(source):
            names = [source.file] if source.file else []
            if not source.file:
                listing = HfApi().list_repo_tree(source.repo)
                entries = [entry.path for entry in listing if isinstance(entry, RepoFile)]
                names = sorted(name for name in entries if any(fnmatch(name, p) for p in source.patterns))
            if not names:
                raise DownloadError(
                    f"{source.repo} has no files like {', '.join(source.patterns)}",
                    remedy=f"check {source.page}, or name another with --repo {source.role}=OWNER/NAME",
                )
            for name in names:
                url = hf_hub_url(source.repo, name)
                meta = get_hf_file_metadata(url, token=None, headers=_headers())
                if meta.etag is None or meta.size is None:
                    raise DownloadError(
                        f"{url} came without a hash or a size",
                        remedy="unset HF_ENDPOINT, or point it at a server that speaks the hub's protocol",
                    )
                target = folder / (Path(source.folder) / Path(name).name if source.folder else name)
                found.append(RemoteFile(source, name, url, meta.size, meta.etag, target))
    return found


def check_space(files: Sequence[RemoteFile], folder: Path) -> int:
    """Bytes still to be fetched; checks first that the hub serves such files and the disk has the room.

    Raises:
        DownloadError: a file above 50 GB, or too little free space.
    """
    for file in files:
        if not file.present and file.size > MAX_FILE:
            raise DownloadError(
                f"{file.name} has {file.size / GIB:.1f} GiB; the hub sends no file above 50 GB in this way",
                remedy=f"run `pip install hf_xet` and `hf download {file.source.repo} {file.name} --local-dir"
                f" {folder}`, or name a smaller file with --file {file.source.role}=NAME",
            )
    needed = sum(file.missing_bytes for file in files)
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(nearest).free
    if needed > free:
        raise DownloadError(
            f"{needed / GIB:.1f} GiB are to be downloaded and {folder} has {free / GIB:.1f} GiB free",
            remedy="free space, or choose a folder on another disk with --to",
        )
    return needed


def fetch(file: RemoteFile, report: Report) -> Path:
    """Download one file, or the rest of a partial one, and hash it before it gets its name.

    `report` is called with the bytes fetched so far, and then with the bytes hashed so far.

    Raises:
        DownloadError: the connection failed for good, or the content's hash is wrong.
    """
    from huggingface_hub.file_download import http_get

    if file.present:
        return file.path
    try:
        file.path.parent.mkdir(parents=True, exist_ok=True)
        with hub_errors(file.source), file.part.open("ab") as handle:
            http_get(
                file.url,
                handle,
                resume_size=handle.tell(),
                headers=_headers(),
                expected_size=file.size,
                displayed_filename=file.name,
                tqdm_class=_bar_class(report),
            )
        _verify(file, report)
        os.replace(file.part, file.path)
    except OSError as error:
        if error.errno is None:  # the hub library's own complaint about the number of bytes received
            raise DownloadError(f"{file.name}: {error}", remedy="run the same command again") from error
        raise DownloadError(
            f"cannot write {file.path}: {error.strerror or error}",
            remedy="free disk space or check the folder's permissions; the same command then continues",
        ) from error
    return file.path


def write_bundle(folder: Path, files: Sequence[RemoteFile]) -> Path | None:
    """Write the `bundle.json` by which `castsheet generate --model FOLDER` finds the files.

    Returns:
        The path of `bundle.json`, or None if checkpoint or text encoder is not among the files.
    """
    places = {file.source.role: file.path.relative_to(folder) for file in files}
    if not {"checkpoint", "text_encoder"} <= set(places):
        return None
    adapters = [{"path": places["adapter"].as_posix()}] if "adapter" in places else []
    encoder = next(file for file in files if file.source.role == "text_encoder")
    place = places["text_encoder"] if encoder.source.file else places["text_encoder"].parent
    bundle: dict[str, Any] = {
        "version": 1,
        "name": places["checkpoint"].stem,
        "files": {
            "checkpoint": places["checkpoint"].as_posix(),
            "text_encoder": place.as_posix(),
            "adapters": adapters,
        },
    }
    usual = recipe_of(places["checkpoint"])
    if usual is not None:
        bundle["usual"] = usual
    text = json.dumps(bundle, indent=2) + "\n"
    return write_text(folder / "bundle.json", text)


def recipe_of(file: Path) -> str | None:
    """The preset of a denoiser that was downloaded by its published name; None for another file."""
    releases = [family.release for family in FAMILIES.values() if family.release is not None]
    variants = [one for release in releases for one in release.variants.values()]
    return next((one.preset for one in variants if Path(one.file).name == file.name), None)


def _verify(file: RemoteFile, report: Report) -> None:
    if _digest(file, report) == file.etag:
        return
    file.part.unlink(missing_ok=True)
    raise DownloadError(
        f"{file.name}: the downloaded bytes do not have the hash that the hub announced",
        remedy="run the same command again; the damaged part has been removed",
    )


def _digest(file: RemoteFile, report: Report) -> str:
    """SHA-256, or for small files the git blob id: SHA-1 of `blob <size>\\0` and the content."""
    if re.fullmatch(r"[0-9a-f]{64}", file.etag):
        digest = hashlib.sha256()
    elif re.fullmatch(r"[0-9a-f]{40}", file.etag):
        digest = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    else:
        return file.etag  # the server's etags are no hashes of contents: nothing to compare with
    done = 0
    with file.part.open("rb") as handle:
        while block := handle.read(1 << 24):
            digest.update(block)
            done += len(block)
            report(done)
    return digest.hexdigest()


def _headers() -> dict[str, str]:
    """The token of a user who is logged in, and no compression: byte ranges must count the file's bytes."""
    from huggingface_hub.utils import build_hf_headers

    headers = build_hf_headers(library_name="castsheet", library_version=__version__)
    return {**headers, "Accept-Encoding": "identity"}


def _bar_class(report: Report) -> type:
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
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    # The library uses httpx in 1.x and httpx2 in 2.x; its error derives from their common base.
    transport_error: type[BaseException] = HfHubHTTPError.__bases__[0]
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
