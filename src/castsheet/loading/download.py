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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from castsheet.errors import DownloadError
from castsheet.loading.hub import Report, bar_class, headers, hub_errors
from castsheet.ltx.family import DEFAULT, FAMILIES
from castsheet.ltx.releases import PublishedFile, Release, Role, Variant
from castsheet.machine.files import write_text
from castsheet.machine.locks import Say, locked
from castsheet.machine.outputs import Output, write_output
from castsheet.machine.refusals import cannot_write
from castsheet.machine.replace import PREFIX
from castsheet.machine.text import json_if_any

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
    def hashed(self) -> bool:
        """Whether the server tells a hash of the content; other etags can be compared with nothing."""
        return re.fullmatch(r"[0-9a-f]{64}|[0-9a-f]{40}", self.etag) is not None

    @property
    def part(self) -> Path:
        """The partial file. A new version on the hub has another hash, so its download starts afresh."""
        version = self.etag if self.hashed else hashlib.sha256(self.etag.encode()).hexdigest()
        return self.path.with_name(f".{self.path.name}.{version[:16]}.part")

    @property
    def record(self) -> Path:
        """What is remembered of the finished file, so that it is hashed once and not in every run."""
        return self.path.with_name(f".{self.path.name}.castsheet")

    @property
    def present(self) -> bool:
        """Whether a file of the right size is here; `check_present` makes sure of its bytes."""
        return self.path.is_file() and self.path.stat().st_size == self.size

    @property
    def ours(self) -> bool:
        """Whether the file that is here is as an earlier download left it, of this version or another."""
        return _remembered(self.record).get("file") == _stamp(self.path)

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
    """The sources of these roles, with repositories and file names overridden by role.

    Args:
        only: the roles; empty for all but the optional ones.
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
    for source in (*release.files, *release.optional):
        if source.role in only or (not only and source in release.files):
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
                _refuse_name(source, name)
                url = hf_hub_url(source.repo, name)
                meta = get_hf_file_metadata(url, token=None, headers=headers())
                if meta.etag is None or meta.size is None:
                    raise DownloadError(
                        f"{url} came without a hash or a size",
                        remedy="unset HF_ENDPOINT, or point it at a server that speaks the hub's protocol",
                    )
                target = folder / (Path(source.folder) / Path(name).name if source.folder else name)
                found.append(RemoteFile(source, name, url, meta.size, meta.etag, target))
    paths = [file.path for file in found]
    for file in found:
        if paths.count(file.path) > 1:
            raise DownloadError(
                f"{file.source.repo}: several files would become {file.path}",
                remedy=f"name the right one with --file {file.source.role}=NAME",
            )
    return found


def _refuse_name(source: PublishedFile, name: str) -> None:
    """Refuse a file's name, the user's or the server's, that cannot be a file's here."""
    try:
        name.encode()
    except UnicodeEncodeError:
        usable = False
    else:
        place = PurePosixPath(name)
        inside = not place.is_absolute() and ".." not in place.parts
        usable = inside and name.isprintable() and place.name != "" and not name.endswith("/")
    if not usable:
        raise DownloadError(
            f"{source.repo}: {name!r} cannot name a file",
            remedy=f"name another with --file {source.role}=NAME",
        )


def check_present(file: RemoteFile, report: Report, *, overwrite: bool) -> None:
    """Make sure that a file that is here already has the hub's bytes: it is hashed, once.

    Args:
        report: called with the number of bytes hashed so far.
        overwrite: a file with other bytes is removed, to be fetched anew.

    Raises:
        DownloadError: the file has other bytes, and no download of ours left it so; or cannot be read.
    """
    try:
        told = _remembered(file.record)
        if not file.path.exists() or (file.present and told == _note(file)):
            return
        if file.present and (not file.hashed or _digest(file, file.path, report) == file.etag):
            _remember(file)
            return
        if not (overwrite or file.ours):
            raise DownloadError(
                f"{file.path} is there, and is not the hub's {file.name}",
                remedy="move it away, or replace it with --overwrite",
            )
        if file.present:  # a file of another size stays until the new one is whole
            file.path.unlink()
    except OSError as error:
        raise DownloadError(
            f"cannot read {file.path}: {error.strerror or error}", remedy="check its permissions"
        ) from error


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


def fetch(file: RemoteFile, report: Report, say: Say = lambda _: None) -> Path:
    """Download one file, or the rest of a partial one, and hash it before it gets its name.

    Args:
        report: called with the bytes fetched so far, and then with the bytes hashed so far.
        say: told when another process fetches the same file, which is waited for.

    Raises:
        DownloadError: the connection failed for good, the content's hash is wrong, or the disk refused.
    """
    if file.present:
        return file.path
    name = file.path.name
    with locked(file.path.with_name(f"{PREFIX}{name}.lock"), f"the download of {name}", say):
        if file.present:
            return file.path
        try:
            _fetch(file, report)
            _verify(file, report)
            os.replace(file.part, file.path)
            _remember(file)
        except OSError as error:
            if error.errno is None:  # the hub library's own complaint about the number of bytes received
                raise DownloadError(f"{file.name}: {error}", remedy="run the same command again") from error
            refused = cannot_write(file.path, error)
            raise DownloadError(
                refused.what, remedy=f"{refused.remedy}: the same command then continues"
            ) from error
    return file.path


def _fetch(file: RemoteFile, report: Report) -> None:
    from huggingface_hub.file_download import http_get

    with file.part.open("ab") as handle:
        if handle.tell() > file.size:  # a server sent too much once: nothing of it can be trusted
            handle.truncate(0)
        with hub_errors(file.source):
            http_get(
                file.url,
                handle,
                resume_size=os.fstat(handle.fileno()).st_size,
                headers=headers(),
                expected_size=file.size,
                displayed_filename=file.name,
                tqdm_class=bar_class(report),
            )


def bundle_output(folder: Path) -> Output:
    """The bundle's file, for `try_outputs`: one that the user has added settings to is the user's."""

    def ours(path: Path) -> bool:
        return {"version", "name", "files"} <= set(_remembered(path)) <= {"version", "name", "files", "usual"}

    return Output(folder / "bundle.json", ours)


def write_bundle(folder: Path, files: Sequence[RemoteFile], *, overwrite: bool = False) -> Path | None:
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
    return write_output(
        bundle_output(folder), lambda path: path.write_text(text, encoding="utf-8"), overwrite=overwrite
    )


def recipe_of(file: Path) -> str | None:
    """The preset of a denoiser that was downloaded by its published name; None for another file."""
    releases = [family.release for family in FAMILIES.values() if family.release is not None]
    variants = [one for release in releases for one in release.variants.values()]
    return next((one.preset for one in variants if Path(one.file).name == file.name), None)


def _verify(file: RemoteFile, report: Report) -> None:
    if not file.hashed or _digest(file, file.part, report) == file.etag:
        return
    file.part.unlink(missing_ok=True)
    raise DownloadError(
        f"{file.name}: the downloaded bytes do not have the hash that the hub announced",
        remedy="run the same command again; the damaged part has been removed",
    )


def _digest(file: RemoteFile, path: Path, report: Report) -> str:
    """SHA-256, or for small files the git blob id: SHA-1 of `blob <size>\\0` and the content."""
    if len(file.etag) == 64:
        digest = hashlib.sha256()
    else:
        digest = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    done = 0
    with path.open("rb") as handle:
        while block := handle.read(1 << 24):
            digest.update(block)
            done += len(block)
            report(done)
    return digest.hexdigest()


def _note(file: RemoteFile) -> dict[str, Any]:
    return {"etag": file.etag, "file": _stamp(file.path)}


def _remember(file: RemoteFile) -> None:
    write_text(file.record, json.dumps(_note(file)) + "\n")


def _remembered(path: Path) -> dict[str, Any]:
    """A JSON object; empty where the file is none."""
    content = json_if_any(path)
    return content if isinstance(content, dict) else {}


def _stamp(path: Path) -> list[int]:
    """Size and time: another file, or one that was written to, has others."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]
