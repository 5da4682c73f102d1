"""A studio without a server: folder, queue and tokens are real, requests go through the guard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from castsheet.authoring.library import Library, Sorter
from castsheet.elements import View
from castsheet.embedded import DEMO_SCENE
from castsheet.loading.options import Loading
from castsheet.sheet.box import Kind
from castsheet.studio.app import guarded
from castsheet.studio.asked import SceneChange, SceneElement
from castsheet.studio.bench import Bench
from castsheet.studio.composing import composed, written
from castsheet.studio.folder import Folder
from castsheet.studio.queue import Queue
from castsheet.studio.serve import Place, hosts
from castsheet.studio.state import Studio
from castsheet.studio.store import Store
from castsheet.studio.tokens import Tokens

HOST = "127.0.0.1:8187"
DEMO = DEMO_SCENE.parent
SMALL = {"frames": 9, "steps": 1}
MINI = {"name": "mini", "width": 384, "height": 224, "cell": 32, "asked": "mini"}


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    yield from opened(tmp_path)


def opened(root: Path) -> Iterator[Studio]:
    folder = Folder(root / "studio")
    with folder.held(lambda _: None):
        store = Store(folder.queue)
        queue = Queue(store)
        queue.keep("model", MINI)
        yield Studio(folder, queue, Tokens(store, folder.private / "token", 8187))
        store.close()


@pytest.fixture
def client(studio: Studio) -> TestClient:
    return asker(studio)


@pytest.fixture
def anybody(studio: Studio) -> TestClient:
    """A client that has neither token nor session."""
    return TestClient(
        guarded(studio, hosts(Place(), 8187)), base_url=f"http://{HOST}", follow_redirects=False
    )


def asker(studio: Studio) -> TestClient:
    token = (studio.folder.private / "token").read_text().strip()
    return TestClient(
        guarded(studio, hosts(Place(), 8187)),
        base_url=f"http://{HOST}",
        headers={"authorization": f"Bearer {token}"},
        follow_redirects=False,
    )


def stock(studio: Studio) -> str:
    """Put the demo's cast into the library and a scene beside it; the id of its sheet."""
    library = Library(studio.folder.library)
    cast: tuple[tuple[str, Kind, dict[View, str]], ...] = (
        ("hero", "character", {"face": "hero-face", "front": "hero-front", "side": "hero-side"}),
        ("lamp", "prop", {"front": "prop"}),
        ("barn", "location", {"front": "place"}),
    )
    for name, kind, files in cast:
        for view, file in files.items():
            library.add(name, [DEMO / f"{file}.png"], Sorter(None), kind=kind, view=view)
    elements = [SceneElement(use=name) for name, _, _ in cast]
    asked = SceneChange(elements=elements, action="hero waves")
    written(studio.folder.scenes / "first.yaml", asked)
    return composed(studio, "first")


@pytest.fixture
def sheet(studio: Studio) -> str:
    return stock(studio)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    """A studio with one take, made by a worker's bench with mini."""
    for studio in opened(tmp_path_factory.mktemp("made")):
        request = {"sheet": stock(studio), "action": "hero waves", "seed": 7, "settings": SMALL}
        studio.queue.add("take", [("hero waves (seed 7)", request)])
        job = studio.queue.claim("bench")
        assert job is not None
        Bench(studio.folder, studio.queue, "mini", Loading(device="cpu")).work(job, lambda: False)
        yield studio
