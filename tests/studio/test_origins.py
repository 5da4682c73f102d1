"""Hostile pages in a real browser that has a session of the studio: they change nothing and read nothing."""

from __future__ import annotations

import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import uvicorn
from playwright.sync_api import sync_playwright

from castsheet.studio.app import guarded
from castsheet.studio.serve import Place, hosts
from castsheet.studio.state import Studio
from castsheet.studio.tokens import Tokens
from tests.studio.running import CHROMIUM, SLOW_MS

HOSTILE = """<!doctype html><title>evil</title><body>
<iframe name="sink"></iframe>
<form id="form" method="post" target="sink" action="STUDIO/api/v1/queue/pause"></form>
<form id="text" method="post" target="sink" enctype="text/plain" action="STUDIO/api/v1/queue/pause">
<input name="x" value="y"></form>
<iframe sandbox="allow-scripts allow-forms" srcdoc="
<form method='post' action='STUDIO/api/v1/queue/pause'></form>
<script>document.forms[0].submit(); fetch('STUDIO/api/v1/queue/pause', {method: 'POST', mode: 'no-cors',
credentials: 'include'})</script>"></iframe>
<img src="STUDIO/page/icon.svg"><img src="STUDIO/api/v1/takes">
<script>
window.read = [];
const kept = (what) => async (answer) => window.read.push([what, answer.type, (await answer.text()).length]);
const attempts = [];
for (const path of ["/api/v1/takes", "/api/v1/health", "/page/app.js", "/api/v1/events"])
  for (const mode of ["cors", "no-cors"])
    attempts.push(fetch("STUDIO" + path, {mode, credentials: "include"}).then(kept(path), () => {}));
const kinds = ["text/plain", "application/json"].map((kind) => ({"content-type": kind}));
for (const headers of [{}, {"castsheet-page": "1"}, ...kinds])
  for (const mode of ["cors", "no-cors"])
    attempts.push(fetch("STUDIO/api/v1/queue/pause",
      {method: "POST", mode, headers, credentials: "include", body: "{}"})
      .then(kept("pause"), () => {}));
navigator.sendBeacon("STUDIO/api/v1/queue/pause", "x");
document.getElementById("form").submit();
document.getElementById("text").submit();
Promise.all(attempts).then(() => setTimeout(() => { window.ended = true; }, 500));
</script>"""


@pytest.fixture
def served(studio):
    """The studio's own server on a free port, without a worker: its address, and one that opens it."""
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    own = Studio(
        studio.folder, studio.queue, Tokens(studio.queue.store, studio.folder.private / "token", port)
    )
    config = uvicorn.Config(guarded(own, hosts(Place(), port)), log_level="error", access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/?token={own.tokens.launch}"
    server.should_exit = True
    thread.join(20)
    listener.close()


@pytest.fixture
def hostile(served):
    """A server of somebody else on this machine, whose page attacks the studio."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self):
            body = HOSTILE.replace("STUDIO", served[0]).encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Keep the test's output to the test."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_hostile_pages(studio, served, hostile):
    """Red: a page from elsewhere, a sandboxed frame, or a name that points here uses the session."""
    if CHROMIUM is None:
        pytest.skip("NO BROWSER: hostile pages were not tried; apt-get install chromium")
    address, opening = served
    with sync_playwright() as play:
        rules = "--host-resolver-rules=MAP evil.test 127.0.0.1"
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", rules])
        page = browser.new_page()
        page.set_default_timeout(SLOW_MS)
        page.goto(opening)
        page.get_by_role("heading", name="Cast").wait_for()
        for name in ("127.0.0.1", "localhost", "evil.test"):
            page.goto(f"http://{name}:{hostile}/")
            page.wait_for_function("window.ended")
            read = page.evaluate("window.read")
            assert [one for one in read if one[1] != "opaque" or one[2]] == [], name
            assert not studio.queue.paused, name
        for path in ("/", "/api/v1/takes", "/page/app.js"):
            port = address.rsplit(":", 1)[1]
            assert page.goto(f"http://evil.test:{port}{path}").status == 421
        page.goto(address)
        asked = "{method: 'POST', headers: {'castsheet-page': '1'}}"
        paused = page.evaluate(f"fetch('/api/v1/queue/pause', {asked}).then((answer) => answer.status)")
        assert (paused, studio.queue.paused) == (200, True)  # the studio's own page may
        browser.close()
