"""Who may have the pages of ``cycada view``: whoever knows the token in the address.

Nobody else may, whether another user of this machine or a page from elsewhere that the same browser
shows. The token is a part of the path and no cookie: browsers send a cookie of 127.0.0.1 to every
port of it, also to another user's server.
"""

from __future__ import annotations

import hmac

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)

_INCOMPLETE = (
    "This address lacks the token of `cycada view`; open the whole address that it has printed."
)


class Guard:
    """Answers only what the page itself, or its user, has asked at its own address."""

    def __init__(self, app: ASGIApp, *, token: str, port: int) -> None:
        """Stand before an application that is asked at ``port`` by whoever knows ``token``."""
        self.app, self.token = app, token
        self.hosts = {f"127.0.0.1:{port}", f"localhost:{port}"}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or say why not."""
        if scope["type"] != "http":
            return  # no websocket is accepted
        fault = self.fault(scope)
        if fault is not None:
            status, text = fault
            answer = PlainTextResponse(f"{text}\n", status)
            await answer(scope, receive, _with_headers(send))
            return
        await self.app(scope, receive, _with_headers(send))

    def fault(self, scope: Scope) -> tuple[int, str] | None:
        """Return why a request is refused, with its status; ``None`` if it is not."""
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        given = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        if sum(name == b"host" for name, _ in headers) != 1 or given["host"] not in self.hosts:
            # A name that somebody lets lead to 127.0.0.1 would make their page the same origin.
            return 421, "This server is at 127.0.0.1 alone; its name was another."
        if "origin" in given and given["origin"].removeprefix("http://") not in self.hosts:
            return 403, "A page from elsewhere may not ask this server."
        site = given.get("sec-fetch-site", "none")
        opened = scope["method"] == "GET" and given.get("sec-fetch-dest") == "document"
        if site not in ("same-origin", "none") and not opened:
            return 403, "A page from elsewhere may not ask this server."
        first = scope["path"].split("/")[1] if "/" in scope["path"] else ""
        if not hmac.compare_digest(first.encode(), self.token.encode()):
            return 403, _INCOMPLETE
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return 405, "Only GET and POST are answered."
        return None


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *_HEADERS]
        await send(message)

    return sending
