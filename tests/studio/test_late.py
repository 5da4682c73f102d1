"""Answers that come late: no control before it can work, two quick clicks are one, nothing newer is lost."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from castsheet.studio.asked import SceneChange, SceneElement
from castsheet.studio.composing import written
from tests.studio.running import drawn
from tests.studio.test_live import Held, opened_page, page  # noqa: F401
from tests.studio.test_page import browser  # noqa: F401


@pytest.fixture
def takes(browser, made):  # noqa: F811
    """The gallery of a studio with one take."""
    with opened_page(browser, made) as opened:
        opened.goto("/#/gallery")
        yield opened


def test_no_frame_is_sought_before_there_are_frames(takes):
    """Red: a click on "Frame on" before the take is read is lost."""
    held = Held(takes, "**/judgement")
    takes.get_by_role("link", name="Look closely").click()
    expect(takes.get_by_role("heading", name="Take", exact=True)).to_be_visible()
    expect(takes.get_by_role("button")).to_have_count(0)
    held.let_go()
    takes.get_by_role("button", name="Frame on").click()
    expect(takes.get_by_label("Frame 1 of 8")).to_be_visible()


def test_a_seek_ends_the_playback(takes):
    """Red: whoever seeks while a take plays lands on another frame."""
    takes.get_by_role("link", name="Look closely").click()
    takes.get_by_role("button", name="Play").click()
    for _ in range(5):
        shown = takes.evaluate(
            """async () => {
            const button = document.querySelector("button.main");
            const drawn = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
            if (button.textContent === "Play") button.click();
            await drawn(); await drawn();
            const slider = document.querySelector("input[type=range]");
            slider.value = 3;
            slider.dispatchEvent(new Event("input", { bubbles: true }));
            await drawn(); await drawn(); await drawn();
            return slider.value;
            }"""
        )
        assert shown == "3"


def test_a_star_that_comes_late_keeps_the_filter(takes):
    """Red: a slow star brings the list of another filter than the chosen one."""
    held = Held(takes, "**/star")
    takes.get_by_role("button", name="Star hero waves").click()
    takes.get_by_label("Verdict").select_option("not carried")
    takes.get_by_label("Who or what").select_option("lamp")
    takes.get_by_label("Preset").select_option(index=1)
    with takes.expect_response("**/takes?element=lamp**"):
        held.let_go()
    drawn(takes)
    shown = takes.evaluate(
        "fetch('/api/v1/takes?element=lamp&state=not carried').then((answer) => answer.json())"
    )["takes"]
    expect(takes.get_by_role("region", name="hero waves")).to_have_count(len(shown))


@pytest.mark.usefixtures("sheet")
def test_two_quick_clicks_are_one(page, studio):  # noqa: F811
    """Red: a double click makes a thing twice, complains that it is there, or removes without asking."""
    asked = []
    page.on("request", lambda request: asked.append((request.method, request.url.partition("/v1")[2])))
    page.goto("/#/cast")
    held = Held(page, "**/fill")
    page.get_by_role("button", name="Let the model make the missing views of hero").dblclick()
    held.let_go()
    expect(page.get_by_role("heading", name="Queue")).to_be_visible()
    assert [job.kind for job in studio.queue.jobs()] == ["fill"]
    page.get_by_role("link", name="Shot lists").click()
    page.get_by_label("Name").fill("act")
    page.get_by_role("button", name="Make the list").dblclick()
    expect(page.get_by_role("heading", name="Shot list act")).to_be_visible()
    assert asked.count(("PUT", "/shots/act")) == 1
    page.get_by_role("link", name="Shot lists").click()
    page.get_by_role("button", name="Remove list act").dblclick()
    expect(page.get_by_role("button", name="Really remove list act")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert "DELETE" not in {method for method, _ in asked}


@pytest.mark.usefixtures("sheet")
def test_who_has_left_stays_away(page):  # noqa: F811
    """Red: a slow answer takes somebody from the page where they are by now."""
    page.goto("/#/shots")
    held = Held(page, "**/shots/act")
    page.get_by_label("Name").fill("act")
    page.get_by_role("button", name="Make the list").click()
    page.get_by_role("link", name="Scenes").click()
    page.get_by_label("Name").fill("second")
    held.let_go()
    expect(page.get_by_label("Name")).to_have_value("second")
    expect(page).to_have_url(re.compile("#/scenes$"))


@pytest.mark.usefixtures("sheet")
def test_undo_takes_back_the_click_before_it(page):  # noqa: F811
    """Red: undo right after a change refuses, or takes back the change before that one."""
    page.goto("/#/cast")
    words = page.get_by_label("What the prompt says of hero")
    words.fill("a knight")
    page.get_by_role("button", name="Save hero").click()
    expect(page.get_by_role("button", name="Save hero")).to_be_disabled()
    page.get_by_label("What the prompt says of lamp").fill("not sent yet")
    words.fill("a king")
    held = Held(page, "**/looks/default")
    page.get_by_role("button", name="Save hero").click()
    page.get_by_role("button", name="Undo").click()
    held.let_go()
    expect(words).to_have_value("a knight")
    expect(page.get_by_label("What the prompt says of lamp")).to_have_value("not sent yet")
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.usefixtures("sheet")
def test_two_quick_steps_of_a_panel_are_two(page):  # noqa: F811
    """Red: a step of a panel starts from where it was before the step that is not composed yet."""
    page.goto("/#/scene/first")
    panel = page.get_by_role("button", name="hero, face")
    panel.focus()
    panel.press("Enter")
    at = page.get_by_text("hero/face at")
    expect(at).to_be_visible()
    begun = int(at.text_content().partition(" at ")[2].partition(" %")[0])
    way = "ArrowRight" if begun < 40 else "ArrowLeft"
    for _ in range(5):
        panel.press(way)
    expect(at).to_contain_text(f"hero/face at {begun + (10 if begun < 40 else -10)} %")


@pytest.mark.usefixtures("sheet")
def test_an_old_sheet_is_not_shot(page):  # noqa: F811
    """Red: a scene whose sheet could not be composed is shot with the sheet of before the edit."""
    page.goto("/#/scene/first")
    shoot = page.get_by_role("link", name="Shoot with this sheet")
    expect(shoot).to_be_visible()
    page.route("**/scenes/first/sheet", lambda route: route.abort())
    page.get_by_label("Title").fill("A barn")
    again = page.get_by_role("button", name="Save and compose it again")
    expect(again).to_be_visible()
    expect(shoot).to_have_count(0)
    page.unroute("**/scenes/first/sheet")
    again.click()
    expect(shoot).to_be_visible()


@pytest.mark.usefixtures("sheet")
def test_a_page_without_an_answer_asks_again(page):  # noqa: F811
    """Red: one answer that is lost leaves a page empty for good."""
    met = []

    def lose(route):
        met.append(route)
        route.abort() if len(met) < 3 else route.continue_()

    page.route("**/api/v1/scenes", lose)
    page.goto("/#/scenes")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    expect(page.get_by_role("link", name="first")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)


@pytest.mark.usefixtures("sheet")
def test_a_slow_sheet_leaves_the_newer_scene(page, studio):  # noqa: F811
    """Red: an edit that waits for its turn is lost, or shown under another sheet."""
    written(studio.folder.scenes / "lamps.yaml", SceneChange(elements=[SceneElement(use="lamp")], action="x"))
    page.goto("/#/scene/lamps")
    expect(page.get_by_role("link", name="Shoot with this sheet")).to_be_visible()
    held = Held(page, "**/scenes/lamps")
    page.get_by_label("What happens").fill("the lamp burns")
    page.get_by_role("link", name="Scenes").click()
    page.goto("/#/scene/lamps")  # back before the edit is answered
    held.let_go()
    page.get_by_label("Title").fill("Lamps")
    expect(page.get_by_role("link", name="Shoot with this sheet")).to_be_visible()
    expect(page.get_by_label("What happens")).to_have_value("the lamp burns")
    expect(page.get_by_role("alert")).to_have_count(0)
