"""What comes late, in another order, or not at all: the page shows what the server has, and loses no edit."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from castsheet.studio.asked import SceneChange, SceneElement
from castsheet.studio.composing import written
from tests.studio.conftest import DEMO
from tests.studio.running import CHROMIUM, SLOW_MS, drawn
from tests.studio.test_page import browser  # noqa: F401
from tests.studio.test_uploads import ready_made
from tools.studio.cuts import cuts
from tools.studio.fuzz import served


@pytest.mark.skipif(CHROMIUM is None, reason="NO BROWSER: cuts were not tried; apt-get install chromium")
def test_a_page_that_is_cut_off_shows_the_queue_as_it_is(tmp_path):
    """Red: after a broken connection, or a long sleep, the page shows another queue than there is."""
    assert cuts(tmp_path, 6) == []


def test_half_an_answer_is_no_answer(page, studio):
    """Red: a connection that breaks within an answer leaves the page empty for good."""
    studio.queue.add("take", [("hero waves", {})])
    met = []

    def half(route):
        if met:
            route.continue_()
        else:
            met.append(route)
            route.fulfill(body='{"jobs": [', content_type="application/json")

    page.route("**/api/v1/jobs", half)
    page.goto("/#/queue")
    page.reload()
    expect(page.get_by_text("0 running, 1 waiting.")).to_be_visible()
    assert met


@pytest.fixture
def page(browser, studio):  # noqa: F811
    """The page of a studio without a worker, with a session."""
    with opened_page(browser, studio) as opened:
        yield opened


@contextmanager
def opened_page(browser, studio):  # noqa: F811
    """A page in a session with a studio that runs in this process."""
    token = (studio.folder.private / "token").read_text().strip()
    with served(studio) as (address, _):
        opened = browser.new_page(base_url=address, viewport={"width": 1280, "height": 900})
        opened.set_default_timeout(SLOW_MS)
        opened.goto(f"/?token={token}")
        yield opened
        opened.close()  # and with it its stream of events, for which the server would wait


class Held:
    """Holds the server's first answer to an address until it is let go; later ones pass."""

    def __init__(self, page, pattern):
        self._page, self._met, self._first = page, False, None
        page.route(pattern, self._meet)

    def _meet(self, route):
        if self._met:
            route.continue_()
            return
        self._met = True
        self._first = route, route.fetch()

    def let_go(self):
        while self._first is None:
            self._page.wait_for_timeout(20)
        route, answer = self._first
        with self._page.expect_response(route.request.url):
            route.fulfill(response=answer)
        drawn(self._page)


@pytest.mark.usefixtures("sheet")
def test_a_slow_sheet_of_another_scene_is_dropped(page, studio):
    """Red: whoever chooses another scene quickly shoots it with the first one's sheet."""
    written(studio.folder.scenes / "lamps.yaml", SceneChange(elements=[SceneElement(use="lamp")], action="x"))
    held = Held(page, "**/scenes/first/sheet")
    page.goto("/#/shot")
    scene = page.get_by_label("Scene")
    scene.select_option("first")
    scene.select_option("lamps")
    names = page.get_by_role("group", name="Put a name into the action").get_by_role("button")
    expect(names).to_have_text(["@lamp"])
    held.let_go()
    expect(names).to_have_text(["@lamp"])
    expect(scene).to_have_value("lamps")


@pytest.mark.usefixtures("sheet")
def test_a_slow_first_sheet_does_not_replace_a_later_one(page):
    """Red: the scene's page shows the sheet of before an edit, under the edited scene."""
    held = Held(page, "**/scenes/first/sheet")
    page.goto("/#/scene/first")
    page.get_by_role("checkbox", name="lamp").uncheck()
    page.wait_for_timeout(600)  # the edit is asked for after a pause in typing
    held.let_go()
    board = page.get_by_role("group", name="The sheet")
    expect(page.get_by_role("link", name="Shoot with this sheet")).to_be_visible()
    expect(board.get_by_role("button", name="lamp")).to_have_count(0)
    expect(board.get_by_role("button", name="hero, face")).to_have_count(1)


def test_edits_of_a_list_outlive_its_shots(page, studio):
    """Red: a shot that ends takes away what somebody edits in its list, or a change by hand is lost."""
    file = studio.folder.shots / "act.yaml"
    file.write_text("shots: [{id: one, action: hero waves}]\n")
    page.goto("/#/shots/act")
    page.get_by_label("Action of one").fill("hero jumps")
    studio.queue.add("shots", [("shots act", {"shots": "act"})])
    with page.expect_response("**/shots/act"):
        studio.queue.publish(studio.queue.claim("w"), lambda: {"shots": "act"})
    drawn(page)
    expect(page.get_by_label("Action of one")).to_have_value("hero jumps")
    file.write_text("shots: [{id: one, action: hero sits}]\n")  # by hand, beside the page
    page.get_by_role("button", name="Save the list").click()
    expect(page.get_by_role("alert")).to_contain_text("changed since it was read")
    assert "sits" in file.read_text()


def test_pictures_dropped_on_a_view_and_a_sheet_taken_apart(page, tmp_path):
    """Red: a picture that is dropped on a view goes to another one, or a ready-made sheet stays whole."""
    page.get_by_label("Name, as prompts call it").fill("hero")
    page.get_by_label("What they are: Pictures of hero").select_option("sheets")
    page.get_by_label("Pictures of hero", exact=True).set_input_files(ready_made(tmp_path))
    figures = page.get_by_role("region", name="hero", exact=True).locator("figure")
    expect(figures).to_have_count(3)
    back = page.get_by_role("group", name="back of hero", exact=True)
    before = back.locator("figure").count()
    moved = page.evaluate_handle(
        """async (bytes) => { const held = new DataTransfer();
        held.items.add(new File([new Uint8Array(bytes)], "front.png", { type: "image/png" }));
        return held; }""",
        list((DEMO / "hero-front.png").read_bytes()),
    )
    back.dispatch_event("drop", {"dataTransfer": moved})
    expect(figures).to_have_count(4)
    expect(back.locator("figure")).to_have_count(before + 1)
    expect(back.get_by_text("stated")).to_be_visible()
