"""A small team: named tokens, roles, a record of changes; and changes that are taken back."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from castsheet.errors import OutputError
from castsheet.studio.app import guarded
from castsheet.studio.people import OWNERS, SAFE
from castsheet.studio.problems import Conflict
from castsheet.studio.serve import Place, hosts
from castsheet.studio.store import VERSION, Store
from tests.cli.test_pictures import run
from tests.studio.conftest import DEMO, HOST
from tests.studio.test_guard import addresses

API = "/api/v1"


def with_token(studio, token):
    return TestClient(
        guarded(studio, hosts(Place(), 8187)),
        base_url=f"http://{HOST}",
        headers={"authorization": f"Bearer {token}"},
        follow_redirects=False,
    )


@pytest.fixture
def anna(client, studio):
    """Somebody who may make things."""
    return with_token(studio, client.post(f"{API}/people", json={"name": "anna"}).json()["token"])


def test_a_viewer_may_do_nothing_unsafe(client, studio):
    """Red: somebody who may only look starts jobs, or a new route forgets the roles."""
    token = client.post(f"{API}/people", json={"name": "vera", "role": "viewer"}).json()["token"]
    vera = with_token(studio, token)
    for method, path in addresses(studio):
        if method in SAFE or path in ("/login", f"{API}/session"):
            continue
        assert vera.request(method, path).status_code == 403, (method, path)
    assert vera.get(f"{API}/jobs").status_code == 200
    assert vera.get(f"{API}/system").json()["who"] == {"name": "vera", "role": "viewer"}
    assert not studio.queue.paused


def test_people_and_their_record_are_the_owners(client, anna, studio):
    """Red: a maker gives out tokens or reads who did what, or a removed person still gets in."""
    for path in OWNERS:
        assert anna.get(f"{path}").status_code == 403
    assert anna.post(f"{API}/people", json={"name": "eve", "role": "owner"}).status_code == 403
    assert anna.post(f"{API}/queue/pause").status_code == 200
    log = client.get(f"{API}/log").json()["log"]
    told = [(one["person"], one["method"], one["path"], one["status"]) for one in log]
    assert ("anna", "POST", f"{API}/queue/pause", 200) in told
    assert ("anna", "POST", f"{API}/people", 403) in told
    secret = studio.tokens.exchange(anna.headers["authorization"].split()[1])
    cookies = {studio.tokens.cookie: secret}
    assert studio.tokens.session(cookies).name == "anna"
    assert client.delete(f"{API}/people/anna").status_code == 204
    assert studio.tokens.session(cookies) is None
    assert anna.get(f"{API}/health").status_code == 401
    for wrong in ({"name": "owner"}, {"name": "Anna"}, {"name": "a/b"}, {"name": "x", "role": "king"}):
        assert client.post(f"{API}/people", json=wrong).status_code == 422


def test_a_conflict_between_two_people_is_told(client, anna, sheet):
    """Red: of two people who edit one scene the second deletes the first one's work; or nobody knows whose
    a job is.
    """
    etag = client.get(f"{API}/scenes/first").headers["etag"]
    body = {"elements": [{"use": "hero"}], "action": "hero jumps"}
    assert anna.put(f"{API}/scenes/first", json=body, headers={"if-match": etag}).status_code == 200
    refused = client.put(f"{API}/scenes/first", json=body, headers={"if-match": etag})
    assert refused.status_code == 412
    assert "load it again" in refused.json()["remedy"]
    (job,) = anna.post(f"{API}/jobs", json={"sheet": sheet, "action": "hero waves"}).json()["jobs"]
    assert job["asked_by"] == "anna"


def test_changes_are_taken_back(client, anna, studio):
    """Red: a picture that was taken out, or a changed scene, cannot be got back; or somebody else's later
    work goes with it.
    """
    base = f"{API}/elements/hero/looks/default"
    for view in ("face", "front"):
        content = (DEMO / f"hero-{view}.png").read_bytes()
        client.post(f"{base}/pictures", params={"view": view}, content=content)
    before = client.get(base).json()
    client.post(f"{base}/pictures/{before['pictures'][1]['id']}/approve")
    approved = client.get(base).json()
    client.delete(f"{base}/pictures/{before['pictures'][1]['id']}")
    last = client.get(f"{API}/undo").json()["undo"]
    assert last["what"] == "hero: a picture taken out"
    assert anna.post(f"{API}/undo", json={"id": last["id"]}).status_code == 409
    assert client.post(f"{API}/undo", json={"id": last["id"]}).status_code == 200
    assert client.get(base).json() == approved
    client.post(f"{API}/undo", json={"id": client.get(f"{API}/undo").json()["undo"]["id"]})
    assert client.get(base).json() == before
    client.delete(base)
    assert client.get(base).status_code == 404
    removed = client.get(f"{API}/undo").json()["undo"]
    client.post(f"{API}/undo", json={"id": removed["id"]})
    assert client.get(base).json() == before
    body, new = {"elements": [{"use": "hero"}], "action": "hero waves"}, {"if-none-match": "*"}
    etag = client.put(f"{API}/scenes/first", json=body, headers=new).headers["etag"]
    client.put(f"{API}/scenes/first", json={**body, "action": "x"}, headers={"if-match": etag})
    last = client.get(f"{API}/undo").json()["undo"]
    path = studio.folder.scenes / "first.yaml"
    path.write_text(path.read_text() + "\n")  # by hand, later
    assert client.get(f"{API}/undo").json()["undo"] is None
    assert client.post(f"{API}/undo", json={"id": last["id"]}).status_code == 409
    with pytest.raises(Conflict):
        studio.undo.take_back("nothing", "owner")


def test_tokens_by_the_command_line(studio, tmp_path, capsys):
    """Red: the owner cannot give a token to somebody, or takes it away in vain."""
    folder = studio.folder.root
    assert run("studio", folder, "--add-token", "anna", "--role", "viewer") == 0
    token = capsys.readouterr().out.strip()
    assert studio.tokens.bearer(f"Bearer {token}").role == "viewer"
    assert run("studio", folder, "--tokens") == 0
    assert capsys.readouterr().out.split() == ["anna", "viewer"]
    assert run("studio", folder, "--remove-token", "anna") == 0
    assert studio.tokens.bearer(f"Bearer {token}") is None
    assert run("studio", tmp_path / "none", "--tokens") == 2
    assert "start it once" in capsys.readouterr().err


def test_a_queue_of_the_version_before_is_taken_on(tmp_path):
    """Red: an update of castsheet loses the queue."""
    path = tmp_path / "q.sqlite"
    store = Store(path)
    with store.change() as sql:
        sql.execute("ALTER TABLE jobs DROP COLUMN asked_by")
        sql.execute("ALTER TABLE sessions DROP COLUMN person")
        sql.execute("PRAGMA user_version = 1")
    store.close()
    again = Store(path)
    assert again.rows("PRAGMA user_version")[0][0] == VERSION
    again.rows("SELECT asked_by FROM jobs")
    with again.change() as sql:
        sql.execute("PRAGMA user_version = 99")
    again.close()
    with pytest.raises(OutputError, match="version 99"):
        Store(path)
