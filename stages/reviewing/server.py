"""The review page's server: on this machine alone, for the page that it hands out and nobody else.

A page of another site could otherwise write labels through the browser of whoever reviews (cross-site request forgery),
also under a name of its own that it lets point here (DNS rebinding); so could another user of the machine. Therefore:
every address begins with a secret token, the Host must be this machine by its own name, and what the browser says about
where a request comes from (Origin, Sec-Fetch-Site) must be here.
"""

import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from stages.reviewing.session import Session, State
from stages.runtime.errors import UserError

PAGE = Path(__file__).with_name("page")
FILES = {"": "review.html", "review.css": "review.css", "review.js": "review.js"}
# Class keys; what acts on an item has other keys (see review.js).
KEYS = "123456789abcdefghijklmnopqrstuvwxyz"
LARGEST_REQUEST = 64 * 1024

HEADERS = {
    # Nothing from elsewhere, nothing inline: text of a document can do nothing here.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Review:
    """What the page is told once.

    Attributes:
        labels: those that can be given, with descriptions ("" for none).
        blind: whether nobody's opinion is shown.
    """

    session: Session
    labels: dict[str, str]
    blind: bool


def listen(port: int) -> socket.socket:
    """Take a port of 127.0.0.1 (0: any that is free).

    Raises:
        UserError: if it is taken or not allowed.
    """
    taken = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A port that was in use a moment ago is free.
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(("127.0.0.1", port))
    except OSError as fault:
        taken.close()
        raise UserError(f"--port {port}: {fault.strerror}: choose another, or leave it out") from None
    return taken


def make_app(review: Review, port: int, token: str) -> web.Application:
    """Return the application that serves `review` below `/TOKEN/` to a browser that came by this machine's name."""

    @web.middleware
    async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
        if why := refusal(request, port, token):
            raise web.HTTPForbidden(text=why)
        try:
            return await handler(request)
        except UserError as fault:
            return web.json_response({"error": str(fault)}, status=409)
        except OSError as fault:
            if fault.filename is None:
                raise
            return web.json_response({"error": f"{fault.filename}: {fault.strerror}"}, status=507)

    async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(HEADERS)

    async def file(request: web.Request) -> web.StreamResponse:
        return web.FileResponse(PAGE / FILES[request.match_info["file"]])

    async def start(_request: web.Request) -> web.StreamResponse:
        classes = [
            {"name": name, "description": text, "key": KEYS[place] if place < len(KEYS) else ""}
            for place, (name, text) in enumerate(review.labels.items())
        ]
        told = {"classes": classes, "blind": review.blind, "file": review.session.table.path.as_posix()}
        return web.json_response({**told, "state": review.session.state()})

    def step(act: Callable[..., State], *fields: str) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            try:
                asked = await request.json()
                values = [str(asked[name]) for name in fields]
            except (ValueError, KeyError, TypeError):
                raise web.HTTPBadRequest(text=f"a JSON object with {', '.join(fields)} is expected") from None
            return web.json_response(act(*values))

        return answer

    session = review.session
    app = web.Application(middlewares=[guard], client_max_size=LARGEST_REQUEST)
    app.on_response_prepare.append(add_headers)
    app.add_routes(
        [
            web.get(f"/{token}/{{file:{'|'.join(name.replace('.', '[.]') for name in FILES)}}}", file),
            web.get(f"/{token}/start", start),
            web.post(f"/{token}/decide", step(session.decide, "document_id", "label")),
            web.post(f"/{token}/skip", step(session.skip, "document_id")),
            web.post(f"/{token}/undo", step(session.undo)),
        ]
    )
    return app


def refusal(request: web.BaseRequest, port: int, token: str) -> str | None:
    """Say why `request` is not one of the page's own, or None."""
    hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]
    if request.host not in hosts:
        return f"this server is {hosts[0]} and no other"
    if not secrets.compare_digest(
        request.path.partition("/")[2].partition("/")[0].encode(errors="replace"), token.encode()
    ):
        return "the address holds no valid token: use the one that was printed"
    origin = request.headers.get("Origin")
    if origin is not None and origin != f"http://{request.host}":
        return "this request comes from another site"
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        return "this request comes from another site: open the address yourself"
    if request.method != "GET":
        if origin is None:
            return "this request does not say where it comes from"
        if request.content_type != "application/json":
            return "this request is no JSON"
    return None


def serve(review: Review, listening: socket.socket, announce: Callable[[str], None]) -> None:
    """Serve until Ctrl-C (or SIGTERM); `announce` is given the address as soon as it can be opened."""
    port, token = listening.getsockname()[1], secrets.token_urlsafe(16)
    listening.listen()
    announce(f"http://127.0.0.1:{port}/{token}/")
    app = make_app(review, port, token)
    web.run_app(app, sock=listening, print=None, access_log=None, shutdown_timeout=1.0)
