"""The film-maker's path in a real browser, with mini: from dropped photos to a joined film.

It needs Chromium (Debian's package `chromium`) and skips loudly without it. Screenshots of every page go
to the folder that CASTSHEET_SCREENSHOTS names.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect, sync_playwright

from castsheet.sheet.manifest import Sheet
from tests.studio.conftest import DEMO
from tests.studio.laid import lay_pairs, lay_run
from tests.studio.running import CHROMIUM, SLOW_MS, Running, drawn

WANTED = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa")
COLOURS = ("color-contrast", "link-in-text-block")  # what the dark page may have otherwise than the light one
expect.set_options(timeout=SLOW_MS)


@pytest.fixture
def browser():
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: the page was not tested; apt-get install chromium")
    with sync_playwright() as play:
        started = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


class Walk:
    """A film-maker at the page. Every page is photographed, and checked for accessibility in light and
    dark.
    """

    def __init__(self, page: Page) -> None:
        import axe_playwright_python

        self.page, self.wrong = page, []
        page.set_default_timeout(SLOW_MS)
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._heard)
        self._axe = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()

    def _heard(self, message) -> None:
        if "Content Security Policy" in message.text or "Uncaught" in message.text:
            self.wrong.append(message.text)

    def look(self, name: str) -> None:
        if not self.page.evaluate("'axe' in window"):
            self.page.evaluate(self._axe)
        for scheme, kind, rules in (("light", "tag", WANTED), ("dark", "rule", COLOURS)):
            self.page.emulate_media(color_scheme=scheme)
            rule = json.dumps({"runOnly": {"type": kind, "values": rules}})
            found = self.page.evaluate(f"axe.run(document, {rule})")["violations"]
            told = [f"{one['id']}: {one['nodes'][0]['html'][:200]}" for one in found]
            self.wrong += [f"{name}, {scheme}: {one}" for one in told]
            if folder := os.environ.get("CASTSHEET_SCREENSHOTS"):
                self.page.screenshot(path=f"{folder}/{name}-{scheme}.png", full_page=True)
        self.page.set_viewport_size({"width": 400, "height": 800})
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        if wide > 400:
            self.wrong.append(f"{name} is {wide} px wide on a screen of 400")
        if folder := os.environ.get("CASTSHEET_SCREENSHOTS"):
            self.page.screenshot(path=f"{folder}/{name}-400.png", full_page=True)
            self.page.set_viewport_size({"width": 3840, "height": 2160})
            self.page.screenshot(path=f"{folder}/{name}-4k.png")
        self.page.set_viewport_size({"width": 1280, "height": 900})
        self.page.emulate_media(color_scheme="light")

    def button(self, name, exact=True):
        return self.page.get_by_role("button", name=name, exact=exact)


def pictures(folder: Path) -> dict[str, list[Path]]:
    """Photos of two people, a thing and a place. The second person is the first in other colours."""
    folder.mkdir()
    found = {"hero": [DEMO / f"hero-{view}.png" for view in ("face", "front", "side")], "guest": []}
    for view in ("face", "front"):
        red, green, blue, alpha = Image.open(DEMO / f"hero-{view}.png").convert("RGBA").split()
        Image.merge("RGBA", (blue, red, green, alpha)).save(folder / f"guest-{view}.png")
        found["guest"].append(folder / f"guest-{view}.png")
    return found | {"lamp": [DEMO / "prop.png"], "barn": [DEMO / "place.png"]}


def cast(walk: Walk, folder: Path) -> None:
    """Drop photos, correct a view, approve a cut-out, say who is who."""
    page, kinds = walk.page, {"hero": "character", "guest": "character", "lamp": "prop", "barn": "location"}
    for name, files in pictures(folder).items():
        page.get_by_label("Name, as prompts call it").fill(name)
        page.get_by_label("What it is").select_option(kinds[name])
        if name == "lamp":  # dropped, as from a desktop
            moved = page.evaluate_handle(
                """async (bytes) => { const held = new DataTransfer();
                held.items.add(new File([new Uint8Array(bytes)], "lamp.png", { type: "image/png" }));
                return held; }""",
                list(files[0].read_bytes()),
            )
            page.locator(".drop").first.dispatch_event("drop", {"dataTransfer": moved})
        else:
            page.get_by_label(f"Pictures of {name}", exact=True).set_input_files(files)
        expect(page.get_by_role("region", name=name, exact=True).locator("figure")).to_have_count(len(files))
    slot = page.get_by_role("group", name="three-quarter of hero", exact=True)
    page.get_by_alt_text("hero-side.png of hero, side", exact=True).drag_to(slot)
    expect(slot.locator("figure")).to_have_count(1)
    lacks = page.get_by_role("region", name="hero", exact=True)
    expect(lacks).to_contain_text("Missing views: side, back.")
    walk.button("Approve the cut-out of hero-front.png of hero").click()
    expect(page.get_by_text("cut-out kept")).to_be_visible()
    puppet = page.get_by_role("region", name="hero", exact=True).get_by_label(
        "A puppet, a robot or an animal"
    )
    puppet.check()
    expect(walk.button("Save hero")).to_be_enabled()
    puppet.uncheck()
    expect(walk.button("Save hero")).to_be_disabled()
    page.get_by_label("What the prompt says of hero").fill("a person")
    walk.button("Save hero").click()
    expect(walk.button("Save hero")).to_be_disabled()
    walk.look("cast")
    walk.button("Brush the cut-out of guest-front.png of guest").click()
    expect(walk.button("Keep this mask")).to_be_enabled()
    walk.look("brush")
    walk.button("Close").click()


def scene(walk: Walk) -> None:
    """A live sheet; a bad pin is shown and mended, and taken back; another pin stays."""
    page = walk.page
    page.get_by_role("link", name="Scenes").click()
    page.get_by_label("Name").fill("first")
    walk.button("Make the scene").click()
    page.get_by_label("What happens").fill("hero waves")
    board = page.get_by_role("group", name="The sheet")
    expect(board.get_by_role("button", name=re.compile("guest, face"))).to_be_visible()
    expect(board.locator("image")).to_have_count(1)
    panel = board.get_by_role("button", name=re.compile("hero, face"))
    panel.focus()
    drawn = board.locator("image")
    for _ in range(2):  # pushed half a cell into its neighbours by the keys alone
        before = drawn.get_attribute("href") or ""
        panel.press("ArrowLeft")
        expect(page.get_by_text("hero/face at")).to_be_visible()
        expect(drawn).not_to_have_attribute("href", before)  # the next step starts from the new place
    expect(walk.button("Mend what can be mended")).to_be_visible()
    walk.look("scene")
    walk.button("Mend what can be mended").click()
    expect(page.get_by_text("Mended:").first).to_be_visible()
    walk.button("Unpin hero/face").click()
    expect(page.get_by_text("Drag a panel to pin it")).to_be_visible()
    expect(page.get_by_role("link", name="Shoot with this sheet")).to_be_visible()  # no other sheet follows
    box = board.get_by_role("button", name=re.compile("barn, place")).bounding_box()
    page.mouse.move(box["x"] + 20, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + 20, box["y"] - 400, steps=4)
    page.mouse.up()
    expect(page.get_by_text("barn/place at")).to_be_visible()
    page.get_by_label("What the model sees, with its cells").check()
    expect(page.get_by_role("img", name=re.compile("as the model sees it"))).to_be_visible()
    expect(page.get_by_role("link", name="Shoot with this sheet")).to_be_visible()


def shoot(walk: Walk) -> list[str]:
    """Two takes through the queue; compare them blind, star one, make it again: the same bytes."""
    page = walk.page
    page.get_by_role("link", name="Shoot with this sheet").click()
    expect(page.get_by_text("The sheet shows")).to_be_visible()
    for label, value in (("Frames", "9"), ("Steps", "1"), ("Takes", "2"), ("Seed", "4")):
        page.get_by_label(label, exact=True).fill(value)
    walk.look("shot")
    walk.button("Make 2 takes").click()
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    expect(page.get_by_role("link", name="Look at it")).to_have_count(2)
    walk.look("queue")
    page.get_by_role("link", name="Gallery").click()
    boxes = page.get_by_role("checkbox", name=re.compile("^Compare"))
    expect(boxes).to_have_count(2)
    for one in boxes.all():
        one.check()
    walk.look("gallery")
    walk.button("Compare 2").click()
    page.get_by_label(re.compile("Blind")).check()
    walk.button("Star Take A").click()
    expect(page.get_by_role("button", name=re.compile("Star hero waves")).first).to_be_visible()
    page.locator("svg.time").first.click(position={"x": 5, "y": 5})
    expect(page.get_by_role("img", name=re.compile("^Panels of"))).to_be_visible()
    walk.look("takes")
    slow: list[Route] = []
    everything = re.compile(r"/takes\?$")
    page.route(everything, lambda route: slow.append(route))
    with page.expect_request(everything):
        page.get_by_role("link", name="Gallery").click()
    page.get_by_label("Starred").check()
    expect(page.get_by_role("region", name=re.compile("hero waves"))).to_have_count(1)
    with page.expect_response(everything):
        slow[0].continue_()  # the answer to the list without a filter comes last, and must change nothing
    drawn(page)
    page.unroute(everything)
    starred = page.get_by_role("link", name="Look closely").get_attribute("href").split("/")[-1]
    page.get_by_role("button", name=re.compile("^Run again")).click()
    expect(page.get_by_role("link", name="Look at it")).to_have_count(3)
    told = page.evaluate("fetch('/api/v1/takes').then((answer) => answer.json())")["takes"]
    first = next(one for one in told if one["id"] == starred)
    return [one["video"]["sha256"] for one in told if one["seed"] == first["seed"]]


def film(walk: Walk, studio: Running) -> None:
    """A list of two shots, of which the second goes on from the first, joined into a film."""
    page = walk.page
    page.get_by_role("link", name="Shot lists").click()
    page.get_by_label("Name").fill("act")
    walk.button("Make the list").click()
    walk.button("One more shot").click()
    page.get_by_label("Action of shot-002").fill("guest waves")
    page.get_by_label("shot-002 goes on from the shot before").check()
    page.get_by_label("Join the shots into one film").check()
    walk.button("Save the list").click()
    file = studio.folder / "shots" / "act.yaml"
    expect(page.locator("[aria-live]")).to_have_text("The list is saved")
    file.write_text(f"settings: {{frames: 9, steps: 1}}\n{file.read_text()}")  # by hand, beside the page
    page.reload()
    page.get_by_label("Sheet of scene").select_option("first")
    walk.button("Make what is not made yet").click()
    page.get_by_role("link", name="Look at the shots").click()
    expect(page.get_by_role("region", name="The film")).to_be_visible()
    walk.look("shots")
    assert "settings:" in file.read_text()


def teach(walk: Walk, studio: Running) -> None:
    """Pairs and a run that the command line left: looked at; the run's file changed, and changed back."""
    page = walk.page
    (sheet, *_) = (studio.folder / "sheets").glob("*.png")
    lay_pairs(studio.folder / "pairs" / "first", Sheet.load(sheet), frames=25)
    lay_run(studio.folder / "runs", "act")
    page.get_by_role("link", name="Pairs").click()
    page.get_by_role("link", name="first").click()
    expect(page.get_by_role("region", name="Pair ab-0001w0")).to_contain_text("<b>A film</b>")
    page.get_by_text("R30: nothing moves (2)").click()
    expect(page.get_by_role("cell", name="w7")).to_be_visible()
    walk.look("pairs")
    page.get_by_role("link", name="Training").click()
    expect(page.get_by_role("region", name="Run act")).to_contain_text("stopped at step 60")
    walk.look("training")
    page.get_by_role("link", name="act", exact=True).click()
    expect(page.locator(".chart canvas")).to_have_count(3)
    page.get_by_label("After step 60").press("ArrowLeft")
    expect(page.get_by_alt_text(re.compile("after step 0"))).to_be_visible()
    walk.look("run")
    page.get_by_role("link", name="Training").click()
    walk.button("Remove run act").click()
    walk.button("Really remove run act").click()
    expect(page.get_by_text("No runs yet")).to_be_visible()
    walk.button("Undo").click()
    expect(page.get_by_role("region", name="Run act")).to_be_visible()


def team(walk: Walk) -> None:
    """A token for somebody, who may look and not change."""
    page = walk.page
    page.get_by_role("link", name="People").click()
    page.get_by_label("Name of the person").fill("vera")
    page.get_by_label("Role").select_option("viewer")
    walk.button("Make the token").click()
    token = page.locator(".notice pre").text_content()
    expect(page.get_by_text("vera, viewer")).to_be_visible()
    walk.look("people")
    other = page.context.browser.new_page()
    other.set_default_timeout(SLOW_MS)
    other.goto(page.url.split("#")[0])
    other.get_by_label("Token").fill(token)
    other.get_by_role("button", name="Enter").click()
    expect(other.get_by_text("vera, viewer")).to_be_visible()
    other.goto(f"{page.url.split('#')[0]}#/queue")
    other.get_by_role("button", name="Hold the queue").click()
    expect(other.get_by_role("alert")).to_contain_text("vera is a viewer here")
    other.close()


def test_the_film_makers_path(browser, tmp_path):
    """Red: a film-maker cannot get from photos to a film, or "run again" makes another clip."""
    with Running(tmp_path / "film") as studio:
        walk = Walk(browser.new_page(viewport={"width": 1280, "height": 900}))
        walk.page.goto(studio.address)
        expect(walk.page.get_by_role("heading", name="Cast", exact=True)).to_be_visible()
        assert "token" not in walk.page.url
        cast(walk, tmp_path / "photos")
        scene(walk)
        hashes = shoot(walk)
        assert len(hashes) == 2
        assert len(set(hashes)) == 1
        film(walk, studio)
        teach(walk, studio)
        team(walk)
        assert walk.wrong == []
