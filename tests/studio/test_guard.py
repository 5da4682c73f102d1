"""Who may ask what. docs/security.md names these tests beside the holes that others had."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from fastapi.routing import APIRoute

from castsheet.errors import OutputError, SettingsError
from castsheet.studio.app import application
from castsheet.studio.folder import Folder
from castsheet.studio.guard import BODY_MOST, HEADERS, OPEN
from castsheet.studio.serve import Place, hosts
from tests.studio.conftest import HOST

STRANGE_HOSTS = (
    "evil.test:8187",
    "localhost.evil.test:8187",
    "127.0.0.1:8188",
    "127.0.0.1",
    "LOCALHOST:8187",
    "127.0.0.1:8187.evil.test",
    "127.1:8187",
    "[::]:8187",
    "",
)
STRANGE_PAGES = (
    {"origin": "http://evil.test"},
    {"origin": "null"},
    {"origin": "http://localhost.evil.test:8187"},
    {"origin": "http://127.0.0.1:8188"},
    {"origin": f"https://{HOST}"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
)


def addresses(studio):
    """Every route and method of the API, with ids filled in."""
    found = []
    todo = list(application(studio).routes)
    while todo:
        route = todo.pop()
        inner = getattr(route, "original_router", None)
        if inner is not None:
            todo += [(route, one) for one in inner.routes]
            continue
        if isinstance(route, tuple):
            route = route[1]
        if isinstance(route, APIRoute):
            path = re.sub(r"{[^}]+}", "hero", route.path)
            path = path if path.startswith(("/api", "/login")) or path == "/" else f"/api/v1{path}"
            found += [(method, path) for method in route.methods]
    return sorted(set(found))


@pytest.fixture
def entered(studio, anybody):
    """A browser that has a session, and its client."""
    answer = anybody.get("/", params={"token": studio.tokens.launch})
    assert answer.status_code == 303
    return anybody


def test_every_route_wants_the_token(studio, anybody):
    """Red: a new route answers anybody (InvokeAI's and Ollama's default)."""
    listed = addresses(studio)
    assert len(listed) > 40
    for method, path in listed:
        if (method, path) in OPEN:
            continue
        answer = anybody.request(method, path)
        assert answer.status_code == 401, (method, path, answer.status_code)
        assert answer.headers["content-type"] == "application/problem+json"
    for path in ("/page/app.js", "/page/vendor/preact.js", "/api/v1/openapi.json", "/nothing"):
        assert anybody.get(path).status_code == 401


@pytest.mark.parametrize("host", STRANGE_HOSTS)
def test_other_hosts_are_not_served(client, host):
    """Red: a page whose name points at this machine reads and writes (Ollama CVE-2024-28224,
    ComfyUI#12860).
    """
    for path in ("/", "/api/v1/health", "/page/app.js", "/login"):
        assert client.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize("page", STRANGE_PAGES)
def test_other_pages_change_and_read_nothing(studio, entered, page):
    """Red: another page uses the browser's session (ComfyUI CVE-2024-10481, GHSA-5xxr-jvhm-jxmj)."""
    assert entered.get("/api/v1/health").status_code == 200
    for method, path in addresses(studio):
        headers = {**page, "castsheet-page": "1"}
        answer = entered.request(method, path, headers=headers)
        assert answer.status_code == 403, (method, path, answer.status_code)
    assert not studio.queue.paused


def test_a_form_or_plain_text_of_another_page_is_refused(studio, entered):
    """Red: a form, which needs no permission of CORS, pauses the queue."""
    own = {"origin": f"http://{HOST}", "sec-fetch-site": "same-origin"}
    kinds = ("application/x-www-form-urlencoded", "text/plain", "multipart/form-data")
    for kind in kinds:
        answer = entered.post("/api/v1/queue/pause", headers={**own, "content-type": kind})
        assert answer.status_code == 403  # our page's header is missing, and no form can send it
    assert entered.post("/api/v1/queue/pause", headers={"castsheet-page": "1"}).status_code == 403
    assert entered.post("/api/v1/queue/pause", headers={**own, "castsheet-page": "1"}).status_code == 200
    assert studio.queue.paused


def test_nothing_is_allowed_by_cors(client, entered):
    """Red: another origin is allowed to read (Gradio CVE-2024-47084)."""
    for asker in (client, entered):
        for origin in ("http://evil.test", f"http://{HOST}"):
            answer = asker.options(
                "/api/v1/jobs", headers={"origin": origin, "access-control-request-method": "POST"}
            )
            assert answer.status_code == 405
            answer = asker.get("/api/v1/health", headers={"origin": f"http://{HOST}"})
            assert not [name for name in answer.headers if name.startswith("access-control")]


def test_every_answer_has_the_strict_headers(client, anybody):
    """Red: an answer may be framed, sniffed or run scripts of others."""
    for answer in (
        client.get("/"),
        client.get("/api/v1/health"),
        client.get("/api/v1/nothing"),
        client.get("/page/app.js"),
        anybody.get("/"),
        anybody.get("/api/v1/jobs"),
        client.get("/", headers={"host": "evil.test"}),
    ):
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert "server" not in answer.headers
    assert "unsafe" not in HEADERS["content-security-policy"]


def test_the_first_token_opens_once(studio, anybody):
    """Red: an address in a browser's history opens the studio for whoever finds it."""
    launch = studio.tokens.launch
    answer = anybody.get("/", params={"token": launch})
    assert answer.headers["location"] == "/"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "8187" in cookie.split("=")[0]
    anybody.cookies.clear()
    assert anybody.get("/", params={"token": launch}).status_code == 200  # the page that asks for the token
    assert anybody.get("/api/v1/health").status_code == 401


def test_the_token_enters_and_a_wrong_one_does_not(studio, anybody):
    """Red: the page for the token lets nobody in, or everybody."""
    own = {"origin": f"http://{HOST}"}
    token = (studio.folder.private / "token").read_text().strip()
    assert anybody.post("/login", data={"token": "wrong"}, headers=own).status_code == 401
    assert anybody.post("/login", data={"token": token}).status_code == 403  # no page of ours
    assert anybody.post("/login", data={"token": token}, headers=own).status_code == 303
    assert anybody.get("/api/v1/health").status_code == 200
    left = anybody.delete("/api/v1/session", headers={**own, "castsheet-page": "1"})
    assert left.status_code == 204


def test_secrets_are_kept(studio):
    """Red: another user of the machine reads the token, or the queue's file holds it."""
    token = studio.folder.private / "token"
    assert token.stat().st_mode & 0o077 == 0
    assert studio.folder.private.stat().st_mode & 0o077 == 0
    secret = studio.tokens.exchange(token.read_text().strip())
    for file in studio.folder.private.glob("queue.sqlite*"):
        held = file.read_bytes()
        assert secret.encode() not in held
        assert token.read_text().strip().encode() not in held


def test_large_bodies_are_refused_first(client):
    """Red: a field of 10 MB is read and parsed (InvokeAI CVE-2024-11043)."""
    large = b'{"x": "' + b"a" * (10 * BODY_MOST) + b'"}'
    assert client.put("/api/v1/scenes/first", content=large).status_code == 413

    def parts():
        for _ in range(3):
            yield b"a" * BODY_MOST

    assert client.put("/api/v1/scenes/first", content=parts()).status_code == 413


def test_only_loopback_without_a_certificate():
    """Red: a studio listens to the network in the clear, or under any name (175,000 Ollama servers)."""
    for place in (Place("0.0.0.0"), Place("192.168.1.2"), Place("not an address")):
        with pytest.raises(SettingsError):
            place.check()
    Place("127.0.0.1").check()
    assert hosts(Place(host_names=("studio.film",)), 8187) >= {"studio.film:8187", HOST}


def test_one_studio_a_folder(studio, tmp_path):
    """Red: two studios work on one folder, or a studio fills somebody else's."""
    with pytest.raises(OutputError, match="in use"), Folder(studio.folder.root).held(lambda _: None):
        pass
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.odt").write_text("mine")
    with pytest.raises(OutputError, match="holds files"), Folder(tmp_path / "other").held(lambda _: None):
        pass


def test_the_web_process_needs_no_torch():
    """Red: the page waits for torch, and a crash of CUDA ends it."""
    line = "import castsheet.studio.serve, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", line], check=True)
