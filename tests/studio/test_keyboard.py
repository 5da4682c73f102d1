"""The film-maker's path by the keyboard alone: every control is reached by Tab, and worked by keys."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Locator, Page, expect

from tests.studio.conftest import DEMO
from tests.studio.running import SLOW_MS, Running
from tests.studio.test_page import browser  # noqa: F401

MOST_TABS = 250


class Keys:
    """Somebody who has no mouse."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.set_default_timeout(SLOW_MS)
        page.on("filechooser", lambda _: None)  # choosers are caught from now on, not from each call on

    def to(self, wanted: Locator) -> None:
        """Tab until a control has the focus. What has it must show it."""
        expect(wanted).to_be_enabled()
        one = wanted.element_handle()
        for _ in range(MOST_TABS):
            self.page.keyboard.press("Tab")
            has, shows, there = one.evaluate(
                "(one) => [one === document.activeElement, one.matches(':focus-visible'), one.isConnected]"
            )
            if has:
                assert shows
                return
            if not there:  # drawn anew
                one = wanted.element_handle()
        raise AssertionError(f"{wanted} is not reached by Tab")

    def press(self, role: str, name: str, key: str = "Enter", **more: object) -> None:
        self.to(self.page.get_by_role(role, name=name, **{"exact": True, **more}))
        self.page.keyboard.press(key)

    def fill(self, label: str, text: str) -> None:
        self.to(self.page.get_by_label(label, exact=True))
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.type(text)

    def choose(self, label: str, value: str) -> None:
        field = self.page.get_by_role("combobox", name=label, exact=True)
        self.to(field)
        for _ in range(12):
            if field.input_value() == value:
                return
            self.page.keyboard.press("ArrowDown")
        raise AssertionError(f"{label} has no {value}")

    def files(self, label: str, files: list[Path]) -> None:
        self.to(self.page.get_by_label(label, exact=True))
        with self.page.expect_file_chooser() as chosen:
            self.page.keyboard.press("Enter")
        chosen.value.set_files(files)


def cast(keys: Keys) -> None:
    """Two elements; a view corrected and taken back, a cut-out approved and one brushed."""
    page = keys.page
    keys.fill("Name, as prompts call it", "hero")
    keys.files("Pictures of hero", [DEMO / "hero-face.png", DEMO / "hero-front.png"])
    expect(page.get_by_role("region", name="hero", exact=True).locator("figure")).to_have_count(2)
    keys.press("button", "Move hero-front.png of hero to another view")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    slot = page.get_by_role("group", name="three-quarter of hero", exact=True)
    expect(slot.get_by_role("button", name="Move hero-front.png")).to_be_focused()
    keys.choose("View of hero-front.png", "side")
    expect(page.get_by_label("View of hero-front.png")).to_be_focused()
    expect(slot.locator("figure")).to_have_count(0)
    keys.press("button", "Undo")
    expect(page.get_by_label("View of hero-front.png")).to_have_value("three-quarter")
    keys.press("button", "Undo")
    expect(page.get_by_label("View of hero-front.png")).to_have_value("front")
    keys.press("button", "Approve the cut-out of hero-front.png of hero")
    expect(page.get_by_text("cut-out kept")).to_be_visible()
    keys.press("button", "Brush the cut-out of hero-face.png of hero")
    keys.to(page.get_by_label("The picture with its mask"))
    for key in ("ArrowRight", "ArrowDown", "Space"):
        page.keyboard.press(key)
    keys.press("button", "Keep this mask")
    expect(page.get_by_text("cut-out kept")).to_have_count(2)
    keys.fill("Name, as prompts call it", "lamp")
    keys.choose("What it is", "prop")
    keys.files("Pictures of lamp", [DEMO / "prop.png"])
    expect(page.get_by_role("region", name="lamp", exact=True).locator("figure")).to_have_count(1)


def scene(keys: Keys) -> None:
    """A scene with a pinned panel, and weights."""
    page = keys.page
    keys.press("link", "Scenes")
    keys.fill("Name", "first")
    keys.press("button", "Make the scene")
    keys.fill("What happens", "hero waves")
    panel = page.get_by_role("group", name="The sheet").get_by_role("button").first
    keys.to(panel)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Unpin")).to_be_visible()
    keys.press("button", "Unpin", exact=False)
    expect(page.get_by_text("Drag a panel to pin it")).to_be_visible()
    keys.to(page.get_by_label("lamp: 1.0"))
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("lamp: 1.1")).to_be_visible()
    keys.to(page.get_by_label("What the model sees, with its cells"))
    page.keyboard.press("Space")
    keys.press("link", "Shoot with this sheet")


def shoot(keys: Keys) -> None:
    """Two takes, compared, one of them starred and made again."""
    page = keys.page
    keys.fill("Seed", "4")
    keys.fill("Takes", "2")
    keys.fill("Steps", "1")
    keys.fill("Frames", "9")
    keys.press("button", "Make 2 takes")
    expect(page.get_by_role("link", name="Look at it")).to_have_count(2)
    keys.press("link", "Gallery")
    for seed in (4, 5):
        keys.to(page.get_by_label(f"Compare hero waves (seed {seed})"))
        page.keyboard.press("Space")
    keys.press("button", "Compare 2")
    keys.press("button", "Frame on")
    keys.to(page.get_by_role("slider", name="Likeness of hero over time").first)
    page.keyboard.press("ArrowRight")
    expect(page.get_by_label("Frame 2 of 8")).to_be_visible()
    expect(page.get_by_role("img", name="Panels of hero on the sheet")).to_be_visible()
    keys.press("button", "Star hero waves (seed 4)")
    keys.press("link", "Gallery")
    keys.press("button", "Run again hero waves (seed 4)")
    expect(page.get_by_role("link", name="Look at it")).to_have_count(3)
    told = page.evaluate("fetch('/api/v1/takes').then((answer) => answer.json())")["takes"]
    assert len({one["video"]["sha256"] for one in told if one["seed"] == 4}) == 1


def test_the_path_by_keyboard(browser, tmp_path):  # noqa: F811
    """Red: a control is not reached by Tab, does not show its focus, or needs a mouse."""
    with Running(tmp_path / "film") as studio:
        keys = Keys(browser.new_page(viewport={"width": 1280, "height": 900}))
        keys.page.goto(studio.address)
        expect(keys.page.get_by_role("heading", name="Cast", exact=True)).to_be_visible()
        cast(keys)
        scene(keys)
        shoot(keys)
        keys.press("link", "Shot lists")
        keys.fill("Name", "act")
        keys.press("button", "Make the list")
        keys.press("button", "One more shot")
        keys.fill("Action of shot-002", "hero jumps")
        keys.press("button", "Save the list")
        expect(keys.page.locator("[aria-live]")).to_have_text("The list is saved")
