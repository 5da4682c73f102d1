"""The HTML skeleton of every report, with its pictures inside: one file without scripts or links."""

from __future__ import annotations

import base64
import io
import re
from html import escape
from pathlib import Path

from PIL import Image

_WRITER = '<meta name="generator" content="castsheet">'
# Before pages named their writer: the same skeleton, and the titles of the pages that commands write.
_EARLIER = re.compile(
    b'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
    b'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    b"<title>(castsheet judge|castsheet shots|[^<\n]+: checks)</title>\n<style>\n"
)


def html_page(title: str, style: str, body: str) -> str:
    """A whole HTML document.

    Args:
        title: plain text for the browser's tab.
        style: CSS.
        body: HTML between the body's tags.
    """
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{_WRITER}
<title>{escape(title)}</title>
<style>
{style.strip()}
</style>
</head>
<body>
{body}
</body>
</html>
"""
    # A file's name may hold bytes that are no text; UTF-8 cannot hold them.
    return page.encode(errors="backslashreplace").decode()


def wrote_page(path: Path) -> bool:
    """Whether `html_page` made the file, of this version or of an earlier one."""
    try:
        with path.open("rb") as file:
            head = file.read(600)
    except OSError:
        return False
    return _WRITER.encode() in head or _EARLIER.match(head) is not None


def data_url(image: Image.Image, *, quality: int = 86) -> str:
    """A picture as a JPEG inside a URL.

    Args:
        quality: of the JPEG, 1 to 95.
    """
    held = io.BytesIO()
    image.convert("RGB").save(held, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()
