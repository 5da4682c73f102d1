"""Pictures that are sent in: re-encoded in a limited child, sorted, cut out, approved."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from castsheet.authoring.library import Library
from tests.studio.conftest import DEMO

API = "/api/v1"


def test_uploads_become_clean_pictures(client, studio):
    """Red: a phone's position stays in the file, a picture stands on its side, or a view is not corrected."""
    picture = Image.new("RGB", (400, 200), "red")
    picture.paste("blue", (0, 0, 200, 200))
    exif = picture.getexif()
    exif[0x0112] = 6  # the camera was turned
    exif.get_ifd(0x8825)[1] = "N"
    held = io.BytesIO()
    picture.save(held, format="JPEG", exif=exif, comment=b"secret place")
    answer = client.post(
        f"{API}/elements/hut/looks/default/pictures",
        params={"label": "../../hut side.jpg", "kind": "prop"},
        content=held.getvalue(),
    )
    assert answer.status_code == 201, answer.json()
    told = answer.json()["pictures"][0]
    assert "/" not in told["label"]
    entry = Library(studio.folder.library).load("hut")
    file = entry.folder / entry.pictures[0].file
    assert file.read_bytes()[:4] == b"\x89PNG"
    assert b"secret" not in file.read_bytes()
    with Image.open(file) as opened:
        assert opened.size == (200, 400)
        assert not opened.getexif()
    base = f"{API}/elements/hut/looks/default/pictures/{told['id']}"
    assert client.patch(base, json={"view": "side"}).json()["pictures"][0]["view"] == "side"
    assert client.patch(base, json={"view": "upside"}).status_code == 422


def ready_made(folder):
    """A sheet as another program makes it: two figures and a head on one ground, without labels."""
    page = Image.new("RGB", (900, 500), "#d8d8d8")
    for number, view in enumerate(("face", "front", "side")):
        with Image.open(DEMO / f"hero-{view}.png") as opened:
            figure = opened.convert("RGBA")
        figure.thumbnail((240, 440))
        page.paste(figure, (30 + 300 * number, 30), figure)
    page.save(folder / "page.png")
    return folder / "page.png"


def test_a_ready_made_sheet_is_taken_apart(client, studio, tmp_path):
    """Red: a sheet that somebody has already goes into the cast as one picture, or cannot be taken back."""
    base = f"{API}/elements/hero/looks/default"
    sent = ready_made(tmp_path).read_bytes()
    answer = client.post(f"{base}/apart", params={"label": "../page.png"}, content=sent)
    assert answer.status_code == 201, answer.json()
    told = answer.json()
    assert (len(told["pictures"]), len(told["added"]), told["left"]) == (3, 3, 0)
    assert {one["label"] for one in told["pictures"]} == {"page.png"}
    assert len(Library(studio.folder.library).load("hero").pictures) == 3
    blank = io.BytesIO()
    Image.new("RGB", (300, 200), "#d8d8d8").save(blank, format="PNG")
    refused = client.post(f"{base}/apart", content=blank.getvalue())
    assert refused.status_code == 422
    assert "separate pictures" in refused.json()["remedy"]
    undo = client.get(f"{API}/undo").json()["undo"]
    assert undo["what"] == "hero: a sheet taken apart"
    client.post(f"{API}/undo", json={"id": undo["id"]})
    assert client.get(base).status_code == 404


def hostile():
    """Files that must be refused, or taken for what they are."""
    held = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(held, format="PNG")
    yield "bomb of 900 million pixels", held.getvalue()
    held = io.BytesIO()
    Image.effect_noise((64, 64), 20).save(held, format="PNG")
    whole = held.getvalue()
    yield "truncated", whole[: len(whole) // 2]
    yield "empty", b""
    yield "text", b"hello"
    yield "svg", b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
    yield "html", b"<!doctype html><script>alert(1)</script>"
    yield "zip", b"PK\x03\x04" + bytes(200)
    yield "pickle", b"\x80\x04\x95" + bytes(50)
    yield "tiny", _png(Image.new("RGB", (4, 4)))
    yield "elf", b"\x7fELF" + bytes(500)
    yield "pdf", b"%PDF-1.7\n" + bytes(300)
    yield "postscript", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n"


def _png(picture):
    held = io.BytesIO()
    picture.save(held, format="PNG")
    return held.getvalue()


@pytest.mark.parametrize(
    ("name", "content"), list(hostile()), ids=lambda one: one if isinstance(one, str) else ""
)
def test_hostile_uploads_are_refused(client, studio, name, content):
    """Red: a file that is no picture gets into the library, or ends the web process."""
    answer = client.post(
        f"{API}/elements/hut/looks/default/pictures",
        params={"label": "x.png", "kind": "prop"},
        content=content,
    )
    assert answer.status_code == 422, name
    assert answer.json()["remedy"]
    assert str(studio.folder.root) not in answer.text
    assert "castsheet-upload" not in answer.text
    assert not (studio.folder.library / "hut").exists()


def test_a_polyglot_keeps_its_pixels_only(client, studio):
    """Red: a page hidden behind a picture is served from the library."""
    page = _png(Image.new("RGB", (64, 64), "green")) + b"<script>alert(1)</script>"
    answer = client.post(
        f"{API}/elements/hut/looks/default/pictures", params={"label": "x", "kind": "location"}, content=page
    )
    assert answer.status_code == 201
    held = b"".join(path.read_bytes() for path in studio.folder.library.rglob("*.png"))
    assert b"script" not in held


@pytest.mark.usefixtures("sheet")
def test_cut_outs_are_approved_and_brushed(client):
    """Red: a cut-out that a person approved is cut anew, or a brushed mask is not what sheets show."""
    told = client.get(f"{API}/elements/hero/looks/default").json()
    front = next(one for one in told["pictures"] if one["view"] == "front")
    base = f"{API}/elements/hero/looks/default/pictures/{front['id']}"
    assert client.get(f"{base}/cutout").headers["content-type"] == "image/png"
    after = client.post(f"{base}/approve").json()
    assert next(one for one in after["pictures"] if one["id"] == front["id"])["approved"]
    whole = Image.open(io.BytesIO(client.get(f"{base}/mask").content))
    brushed = Image.new("L", whole.size)
    brushed.paste(255, (0, 0, whole.width, whole.height // 2))
    assert client.put(f"{base}/mask", content=_png(brushed)).status_code == 200
    kept = np.asarray(Image.open(io.BytesIO(client.get(f"{base}/mask").content)))
    assert kept[: whole.height // 2 - 2].min() == 255
    assert kept[whole.height // 2 + 2 :].max() == 0
    assert client.put(f"{base}/mask", content=_png(Image.new("L", (500, 30)))).status_code == 422


def test_demo_pictures_are_sorted(client):
    """Red: dropped photos get no view, or the person's correction is lost."""
    answer = client.post(
        f"{API}/elements/hero/looks/default/pictures",
        params={"label": "hero-front.png"},
        content=(DEMO / "hero-front.png").read_bytes(),
    )
    told = answer.json()
    assert told["pictures"][0]["view"] == "front"
    assert told["missing"] == ["face", "side", "back"]
    again = client.post(
        f"{API}/elements/hero/looks/default/pictures",
        params={"label": "hero-front.png"},
        content=(DEMO / "hero-front.png").read_bytes(),
    )
    assert again.json()["known"]
    assert len(again.json()["pictures"]) == 1
