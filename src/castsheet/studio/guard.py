"""Who may ask what: checked before any route is looked at, for every request.

In this order: the Host is one of ours, letter by letter (against DNS rebinding); the body is not too
large; the page that asks is our own (Fetch-Metadata, Origin, and a header that no other page can send);
whoever asks has a session's cookie or a token, and a role that allows it. Nothing is allowed by CORS. Every
answer carries the same strict headers, and every change is recorded with its asker.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from castsheet.studio.people import SAFE, Who
from castsheet.studio.problems import MEDIA_TYPE, problem
from castsheet.studio.tokens import Tokens

METHODS = SAFE | {"POST", "PUT", "PATCH", "DELETE"}
OPEN = frozenset((("GET", "/"), ("HEAD", "/"), ("POST", "/login"), ("GET", "/page/login.css")))
"""What answers without a session: the page that asks for the token, and no other."""

ASKED_BY_PAGE = "castsheet-page"
BODY_MOST = 1 << 20
UPLOAD_MOST = 64 << 20
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; media-src 'self';"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CSP,
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",  # with no-referrer browsers send "Origin: null" from the login form
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class BodyTooLarge(Exception):
    """More bytes came than are taken."""


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused."""

    status: int
    detail: str
    remedy: str


class Guard:
    """The outermost layer of the application.

    Args:
        hosts: the allowed values of Host, with the port: "127.0.0.1:8187".
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str], tokens: Tokens, scheme: str = "http") -> None:
        self._app, self._hosts, self._tokens, self._scheme = app, hosts, tokens, scheme

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return

        status = 500

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("cache-control", "no-store")
            await send(message)

        headers = Headers(scope=scope)
        refused = self._refused(scope, headers)
        most = UPLOAD_MOST if _uploads(scope) else BODY_MOST
        if refused is None and _stated(headers) > most:
            refused = _too_large(most)
        if refused is None:
            await self._passed(scope, receive, sent, most)
        else:
            await _refuse(sent, refused)
        who = scope.get("state", {}).get("session")
        if isinstance(who, Who) and scope["method"] not in SAFE:
            people = self._tokens.people
            await run_in_threadpool(people.note, who, scope["method"], scope["path"], status)

    async def _passed(self, scope: Scope, receive: Receive, sent: Send, most: int) -> None:
        """Let the application answer, and cut off a body that is too long."""
        over = False

        async def counted() -> Message:
            nonlocal over
            try:
                return await counted_receive()
            except BodyTooLarge:
                over = True
                raise

        async def answered(message: Message) -> None:
            # What the application makes of a body that was cut off is not sent.
            if not over:
                await sent(message)

        counted_receive = _counted(receive, most)
        with suppress(BodyTooLarge):
            await self._app(scope, counted, answered)
        if over:
            await _refuse(sent, _too_large(most))

    def _refused(self, scope: Scope, headers: Headers) -> Refusal | None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0] not in self._hosts:
            return Refusal(421, "this host is not served here", "open the address that the terminal shows")
        if scope["method"] not in METHODS:
            return Refusal(405, "this method is not served here", "use GET, POST, PUT, PATCH or DELETE")
        bearer = self._tokens.bearer(headers.get("authorization", ""))
        known = bearer or self._tokens.session(_cookies(headers))
        if not known and (scope["method"], scope["path"]) not in OPEN:
            return Refusal(
                401, "there is no session and no token", "open the address that the terminal shows"
            )
        foreign = _foreign(scope, headers, f"{self._scheme}://{hosts[0]}", bearer is not None)
        if foreign is not None:
            return foreign
        scope.setdefault("state", {})["session"] = known
        if known is not None and not known.may(scope["method"], scope["path"]):
            return Refusal(403, f"{known.name} is a {known.role} here", "ask the studio's owner")
        return None


def _foreign(scope: Scope, headers: Headers, own: str, bearer: bool) -> Refusal | None:
    """Refuse what another page asks for, and what changes something without our page's header.

    A request with the token in a header is no page's: no page can make a browser add it.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    refused = Refusal(403, "another page asks for this", "open the studio's own page")
    opened = scope["path"] == "/" and headers.get("sec-fetch-mode") == "navigate" and origin is None
    if site not in (None, "same-origin", "none") and not (opened and scope["method"] in SAFE):
        return refused
    if origin is not None and origin != own:
        return refused
    if bearer or scope["method"] in SAFE or scope["path"] == "/login":
        return (
            None if bearer or scope["path"] != "/login" or origin == own or site == "same-origin" else refused
        )
    if origin is None and site != "same-origin":
        return refused
    if headers.get(ASKED_BY_PAGE) != "1":
        return Refusal(403, f"the header {ASKED_BY_PAGE} is missing", "use the page, or the token as Bearer")
    return None


def _uploads(scope: Scope) -> bool:
    path = scope["path"]
    return scope["method"] in ("POST", "PUT") and (
        path.endswith(("/pictures", "/apart", "/mask")) or path == "/api/v1/frames"
    )


def _stated(headers: Headers) -> int:
    stated = headers.get("content-length", "0")
    return int(stated) if stated.isascii() and stated.isdigit() and len(stated) < 19 else 1 << 60


def _counted(receive: Receive, most: int) -> Receive:
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > most:
            raise BodyTooLarge
        return message

    return counted


def _cookies(headers: Headers) -> dict[str, str]:
    found: dict[str, str] = {}
    for header in headers.getlist("cookie"):
        try:
            found |= {name: one.value for name, one in SimpleCookie(header).items()}
        except CookieError:
            continue
    return found


def _too_large(most: int) -> Refusal:
    return Refusal(413, f"more than {most >> 20} MiB were sent", "send less")


async def _refuse(send: Send, refusal: Refusal) -> None:
    body = json.dumps(problem(refusal.status, refusal.detail, refusal.remedy)).encode()
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    if refusal.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
