"""A finished take: its files, its provenance, and ranges of its video."""

from __future__ import annotations

from castsheet.clip import read_video
from tests.studio.conftest import asker

API = "/api/v1"


def test_a_take_is_told_whole(made):
    """Red: a finished take lacks its files, its verdict or its provenance, or names a place on the disk."""
    client = asker(made)
    (take,) = client.get(f"{API}/takes").json()["takes"]
    assert take["state"] in ("carried", "not carried", "cannot tell")
    assert take["elements"] == ["hero", "lamp", "barn"]
    assert take["stale"] == []
    for part in ("contact", "sidecar", "judgement"):
        answer = client.get(f"{API}/takes/{take['id']}/{part}")
        assert answer.status_code == 200
        assert str(made.folder.root) not in answer.text
    judged = client.get(f"{API}/takes/{take['id']}/judgement").json()["clips"][0]
    assert [one["id"] for one in judged["elements"]] == take["elements"]
    frames, fps = read_video(made.folder.takes / take["id"] / "take.mp4")
    assert (len(frames), fps) == (9, 24.0)
    assert client.put(f"{API}/takes/{take['id']}/star", json={"star": True}).json()["star"]
    assert client.get(f"{API}/takes", params={"starred": True}).json()["takes"]
    assert client.get(f"{API}/takes", params={"element": "nobody"}).json()["takes"] == []


def test_ranges(made):
    """Red: a player cannot seek, or a range of a thousand parts costs minutes (CVE-2025-62727)."""
    client = asker(made)
    (take,) = client.get(f"{API}/takes").json()["takes"]
    path = f"{API}/takes/{take['id']}/video"
    whole = client.get(path)
    size, etag = len(whole.content), whole.headers["etag"]
    assert etag == f'"{take["video"]["sha256"]}"'
    assert "immutable" in whole.headers["cache-control"]
    for text, start, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=0-99", 0, 100),
        (f"bytes={size - 1}-", size - 1, size),
        ("bytes=-7", size - 7, size),
        (f"bytes=100-{size + 500}", 100, size),
    ):
        answer = client.get(path, headers={"range": text})
        assert answer.status_code == 206
        assert answer.content == whole.content[start:end]
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    assert client.get(path, headers={"range": f"bytes={size}-"}).status_code == 416
    assert client.get(path, headers={"range": "bytes=0-9", "if-range": etag}).status_code == 206
    assert client.get(path, headers={"range": "bytes=0-9", "if-range": '"old"'}).status_code == 200
    many = ",".join(f"{n}-{n + 1}" for n in range(0, 40_000, 4))
    assert client.get(path, headers={"range": f"bytes={many}"}).status_code in (200, 400, 416)
