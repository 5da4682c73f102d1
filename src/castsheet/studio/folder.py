"""The studio's folder. All that the page makes lies here as the command line's own files.

    FOLDER/.castsheet                 the mark: this folder is ours
    FOLDER/library/                   castsheet elements
    FOLDER/scenes/NAME.yaml           castsheet sheet, castsheet generate
    FOLDER/sheets/ID.png, ID.json     castsheet lint, castsheet generate; ID begins the hash of the pixels
    FOLDER/takes/ID/take.mp4 ...      with contact sheet, sidecar, judgement.json and judgement.html
    FOLDER/shots/NAME.yaml            castsheet generate --shots; results in FOLDER/shots/NAME/
    FOLDER/frames/ID.png              first frames: castsheet generate --first-frame
    FOLDER/pairs/NAME/                results of castsheet pairs make
    FOLDER/sets/NAME/                 results of castsheet encode
    FOLDER/runs/NAME.yaml, NAME/      castsheet train, and what it made
    FOLDER/.studio/                   the queue, previews, the token: what may be deleted

An id that comes from outside is matched as a whole against its pattern, and then looked for among what is
there. It is never joined to a path before that.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from castsheet.errors import OutputError
from castsheet.machine.locks import Say
from castsheet.machine.marks import Kind, owned
from castsheet.machine.regular import is_file
from castsheet.studio.problems import Missing

PARTS = frozenset(("library", "scenes", "sheets", "takes", "shots", "frames", "pairs", "sets", "runs"))


def _adopted(folder: Path) -> bool:
    """Whether a folder without a mark holds our parts only, such as a library that the command line made."""
    names = {path.name for path in folder.iterdir() if not path.name.startswith(".")}
    return bool(names) and names <= PARTS


STUDIO = Kind("studio", _adopted)
ADAPTER = "adapter.safetensors"  # as `castsheet train` names it
NAME = r"[a-z][a-z0-9_-]{0,63}"
SHEET_ID = r"[0-9a-f]{16}"
PAIR_ID = r"[0-9a-z][0-9a-z._-]{0,79}"
JOB_ID = r"[0-9a-hjkmnp-tv-z]{26}"
_LETTERS = "0123456789abcdefghjkmnpqrstvwxyz"
NETWORKED = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "fuse.sshfs")
)


@dataclass(frozen=True)
class Folder:
    """Where everything is."""

    root: Path

    @property
    def library(self) -> Path:
        """The elements' library."""
        return self.root / "library"

    @property
    def scenes(self) -> Path:
        """Scene files."""
        return self.root / "scenes"

    @property
    def sheets(self) -> Path:
        """Composed sheets."""
        return self.root / "sheets"

    @property
    def takes(self) -> Path:
        """A folder for every take."""
        return self.root / "takes"

    @property
    def shots(self) -> Path:
        """Shot lists, and a folder of results for each."""
        return self.root / "shots"

    @property
    def frames(self) -> Path:
        """First frames."""
        return self.root / "frames"

    @property
    def pairs(self) -> Path:
        """Results of `castsheet pairs make`."""
        return self.root / "pairs"

    @property
    def sets(self) -> Path:
        """Training sets."""
        return self.root / "sets"

    @property
    def runs(self) -> Path:
        """Training runs: a file and a folder for each."""
        return self.root / "runs"

    @property
    def private(self) -> Path:
        """The studio's own: queue, previews, token."""
        return self.root / ".studio"

    @property
    def queue(self) -> Path:
        """The queue's file."""
        return self.private / "queue.sqlite"

    def preview(self, job: str) -> Path:
        """The picture of a job in progress."""
        return self.private / "previews" / f"{job}.webp"

    @contextmanager
    def held(self, say: Say) -> Iterator[Folder]:
        """Mark the folder as ours and keep other studios out of it for as long as the block lasts.

        Raises:
            OutputError: it is somebody else's, on a network disk, in use by another studio, or not writable.
        """
        _refuse_network(self.root)
        with owned(self.root, STUDIO, say, wait=False):
            for path in (*(self.root / part for part in PARTS - {"library"}), self.private / "previews"):
                path.mkdir(parents=True, exist_ok=True)
            self.private.chmod(0o700)
            yield self

    def scene(self, name: str) -> Path:
        """The file of a scene that is there.

        Raises:
            Missing: there is none of this name.
        """
        return self.scenes / f"{_among(name, NAME, self.scene_names(), 'scene')}.yaml"

    def scene_names(self) -> list[str]:
        """The scenes' names, by the alphabet."""
        return sorted(path.stem for path in self.scenes.glob("*.yaml") if re.fullmatch(NAME, path.stem))

    def new_scene(self, name: str) -> Path:
        """Where a scene of this name is written.

        Raises:
            Missing: this cannot be a name.
        """
        return self.scenes / f"{_named(name, 'scene')}.yaml"

    def sheet(self, name: str) -> Path:
        """The PNG of a sheet that is there.

        Raises:
            Missing: there is none of this id.
        """
        return (
            self.sheets
            / f"{_among(name, SHEET_ID, (p.stem for p in self.sheets.glob('*.png')), 'sheet')}.png"
        )

    def take(self, name: str) -> Path:
        """The folder of a take that is there.

        Raises:
            Missing: there is none of this id.
        """
        return self.takes / _among(name, JOB_ID, self.take_ids(), "take")

    def take_ids(self) -> list[str]:
        """The takes' ids, the oldest first."""
        return sorted(path.name for path in self.takes.iterdir() if re.fullmatch(JOB_ID, path.name))

    def shot_list(self, name: str) -> Path:
        """The file of a shot list that is there.

        Raises:
            Missing: there is none of this name.
        """
        return self.shots / f"{_among(name, NAME, self.shot_lists(), 'shot list')}.yaml"

    def new_shot_list(self, name: str) -> Path:
        """Where a shot list of this name is written.

        Raises:
            Missing: this cannot be a name.
        """
        return self.shots / f"{_named(name, 'list')}.yaml"

    def shot_lists(self) -> list[str]:
        """The shot lists' names, by the alphabet."""
        return sorted(path.stem for path in self.shots.glob("*.yaml") if re.fullmatch(NAME, path.stem))

    def frame(self, name: str) -> Path:
        """A first frame that is there.

        Raises:
            Missing: there is none of this id.
        """
        there = (path.stem for path in self.frames.glob("*.png"))
        return self.frames / f"{_among(name, SHEET_ID, there, 'frame')}.png"

    def run_names(self) -> list[str]:
        """The runs' names, by the alphabet."""
        return sorted(path.stem for path in self.runs.glob("*.yaml") if re.fullmatch(NAME, path.stem))

    def run(self, name: str) -> Path:
        """The file of a training run that is there; its results are in the folder beside it.

        Raises:
            Missing: there is none of this name.
        """
        return self.runs / f"{_among(name, NAME, self.run_names(), 'run')}.yaml"

    def adapter(self, name: str) -> Path:
        """The adapter of a training run that has finished.

        Raises:
            Missing: there is no run of this name, or it has not finished.
        """
        path = self.run(name).with_suffix("") / ADAPTER
        if not is_file(path):
            raise Missing(f"the run {name} has not finished", remedy="train it to its last step")
        return path

    def new_run(self, name: str) -> Path:
        """Where a run of this name is written.

        Raises:
            Missing: this cannot be a name.
        """
        return self.runs / f"{_named(name, 'run')}.yaml"

    def set_names(self) -> list[str]:
        """The training sets' names, by the alphabet."""
        return _folders(self.sets)

    def training_set(self, name: str) -> Path:
        """A training set that is there.

        Raises:
            Missing: there is none of this name.
        """
        return self.sets / _among(name, NAME, self.set_names(), "set")

    def new_set(self, name: str) -> Path:
        """Where a training set of this name is written.

        Raises:
            Missing: this cannot be a name.
        """
        return self.sets / _named(name, "set")

    def pairs_names(self) -> list[str]:
        """The names of results of `castsheet pairs make`, by the alphabet."""
        return _folders(self.pairs)

    def pairs_of(self, name: str) -> Path:
        """A result of `castsheet pairs make` that is there.

        Raises:
            Missing: there is none of this name.
        """
        return self.pairs / _among(name, NAME, self.pairs_names(), "result of pairs")

    def told(self, text: str) -> str:
        """A text without this folder's path: the API names no place on the disk."""
        for root in (str(self.root.absolute()), str(self.root.resolve()), str(self.root)):
            if root not in (".", "/"):
                text = text.replace(f"{root}/", "").replace(root, "the studio's folder")
        return text


def _folders(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if re.fullmatch(NAME, path.name) and path.is_dir())


def _named(name: str, what: str) -> str:
    if not re.fullmatch(NAME, name):
        raise Missing(f"this cannot name a {what}", remedy="use lower-case letters, digits, - and _")
    return name


def new_id(milliseconds: int) -> str:
    """An id of 26 letters: ids that are made later sort later."""
    value = (milliseconds << 80) | secrets.randbits(80)
    return "".join(_LETTERS[value >> shift & 31] for shift in range(125, -1, -5))


def _among(name: str, pattern: str, there: Iterator[str] | list[str], what: str) -> str:
    if re.fullmatch(pattern, name):
        for one in there:
            if one == name:
                return one
    raise Missing(f"there is no {what} of this name", remedy=f"list the {what}s again")


def _refuse_network(root: Path) -> None:
    """SQLite's log needs one host: refuse a disk of the network, where the system tells."""
    mounts = Path("/proc/self/mounts")
    if not mounts.is_file():
        return
    place, kind = "", ""
    for line in mounts.read_text(encoding="utf-8", errors="replace").splitlines():
        _, at, type_, *_ = line.split(" ")
        at = at.replace("\\040", " ")
        if root.resolve().is_relative_to(at) and len(at) >= len(place):
            place, kind = at, type_
    if kind in NETWORKED:
        raise OutputError(
            f"{root} is on a disk of the network ({kind}), where the queue's file is not safe",
            remedy="choose a folder on this machine's own disk",
        )
