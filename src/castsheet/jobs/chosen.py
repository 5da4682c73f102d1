"""`castsheet choose CLIP --seed N`: another take becomes the clip, and the takes beside it go."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from castsheet.clip import clip_files
from castsheet.errors import OutputError
from castsheet.jobs.folder import LAST, RECORD, ShotFolder
from castsheet.jobs.takes import page_file, take_file, takes_page
from castsheet.machine.locks import Say
from castsheet.machine.replace import replacing
from castsheet.machine.text import TextReader
from castsheet.media import provenance
from castsheet.media.page import wrote_page
from castsheet.media.png import save_png
from castsheet.media.video import last_frame

_SIDECARS = TextReader(OutputError, "make the takes again")


def takes_of(clip: Path) -> list[int]:
    """The seeds of the takes that lie beside a clip."""
    found = (re.fullmatch(rf"{re.escape(clip.stem)}\.take-(\d+)\.mp4", path.name) for path in _beside(clip))
    return sorted(int(one.group(1)) for one in found if one is not None)


def choose_take(clip: Path, seed: int, say: Say) -> dict[str, Path]:
    """Make the take of a seed the clip, and remove all takes beside it. A kill leaves the old set or the new.

    Works for `generate --takes` and for a shot of a list; the next run of the list then makes shots anew that
    start from this shot's last frame.

    Returns:
        The clip's files, by role.

    Raises:
        OutputError: there is no such take, or the disk refused.
    """
    there = takes_of(clip)
    if seed not in there:
        known = f"its takes are {', '.join(map(str, there))}" if there else "no takes are kept beside it"
        raise OutputError(
            f"{clip} has no take of seed {seed}: {known}",
            remedy="name one of them" if there else "make takes: castsheet generate ... --takes 4",
        )
    shot = (clip.parent / RECORD).is_file()
    with ShotFolder.open(clip.parent.parent, say) if shot else nullcontext():
        _choose(clip, seed, there, shot)
    files = clip_files(clip)
    return {"clip": files.video, "contact": files.contact, "sidecar": files.sidecar}


def _choose(clip: Path, seed: int, there: list[int], shot: bool) -> None:
    files, take = clip_files(clip), clip_files(take_file(clip, seed))
    page = clip.parent / "judgement.html" if shot else page_file(clip)
    with replacing(clip.parent, clip) as change:
        for old, new in ((take.video, files.video), (take.contact, files.contact)):
            shutil.copyfile(old, change.new(new.name))
        sidecar = _renamed(take.sidecar, files.video.name, files.contact.name, _made(files.sidecar), seed)
        change.new(files.sidecar.name).write_bytes(sidecar)
        own = page_file(take.video)
        if wrote_page(own) and (wrote_page(page) or not page.exists()):
            shutil.copyfile(own, change.new(page.name))
        gone = [output.path for one in there for output in clip_files(take_file(clip, one)).outputs]
        gone += [one for one in (page_file(take_file(clip, n)) for n in there) if wrote_page(one)]
        gone += [one for one in (takes_page(clip),) if wrote_page(one)]
        for path in gone:
            change.drop(path.name)
        if shot:
            last = f"{clip.stem}{LAST}"
            save_png(last_frame(take.video), change.new(last))
            change.new(RECORD).write_bytes(_record(clip.parent / RECORD, seed, {path.name for path in gone}))


def _renamed(sidecar: Path, video: str, contact: str, made: Any, seed: int) -> bytes:
    """A take's sidecar under the clip's names, with the choice in it."""
    told = _SIDECARS.json(sidecar)
    if not isinstance(told, dict) or not isinstance(told.get("video"), dict):
        raise OutputError(f"{sidecar} is not a clip's sidecar", remedy="make the takes again")
    told["video"]["file"] = video
    told["contact"] = {**told.get("contact", {}), "file": contact}
    record = {"reason": f"seed {seed}, chosen by hand", "made": made}
    told["provenance"] = {**told.get("provenance", {}), "takes": record}
    return provenance.dump(told).encode()


def _made(sidecar: Path) -> Any:
    """What the clip's own sidecar says of the takes that were made."""
    told = _SIDECARS.json(sidecar)
    provenance_told = told.get("provenance") if isinstance(told, dict) else None
    takes = provenance_told.get("takes") if isinstance(provenance_told, dict) else None
    return takes.get("made", []) if isinstance(takes, dict) else []


def _record(path: Path, seed: int, gone: set[str]) -> bytes:
    """A shot's record after the choice."""
    told = json.loads(path.read_bytes())
    chosen: dict[str, Any] = next((one for one in told.get("made", []) if one["seed"] == seed), {})
    told |= {key: chosen[key] for key in ("passed", "score", "verdict", "state") if key in chosen}
    told |= {"seed": seed, "reason": f"seed {seed}, chosen by hand", "made": []}
    told["files"] = sorted(set(told["files"]) - gone)
    return provenance.dump(told).encode()


def _beside(clip: Path) -> list[Path]:
    return sorted(clip.parent.iterdir()) if clip.parent.is_dir() else []
