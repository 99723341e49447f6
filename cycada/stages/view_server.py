"""The pages and answers of ``cycada view``."""

from __future__ import annotations

import asyncio
import base64
import math
import os
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, get_args

import torch
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cycada import image_writing, images
from cycada.errors import CycadaError
from cycada.report.page import Plots
from cycada.report.sections import curves_section
from cycada.report.view import render_view, script
from cycada.stages.view_guard import Guard
from cycada.stages.view_live import Watch, key_of, sample_steps, spoken_time
from cycada.stages.view_sets import PLACE, DrawnSet, WholeSets
from cycada.stages.view_try import Shows, Trial, Tried, UnitOrAuto, Wanted, counts

LARGEST_UPLOAD = 64 << 20
"""Bytes of an image to try."""

_RESCAN = 5.0  # seconds after which new runs are looked for
_CONTENT = "application/octet-stream"  # which a page from elsewhere cannot send unasked
_OWN_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
_REPORT_POLICY = "frame-ancestors 'self'; connect-src 'none'; base-uri 'none'; form-action 'none'"
"""Beside the page's own: that page is shown in ours, and nowhere else."""


class Report(Protocol):
    """The page that ``cycada report`` makes, beside the server."""

    @property
    def folder(self) -> Path | None:
        """Where the newest whole one is."""

    def state(self) -> Mapping[str, Any]:
        """Return how it stands, for the page."""

    def make(self) -> None:
        """Begin to make it anew, unless that is being done."""


@dataclass(slots=True)
class Site:
    """What the server shows."""

    find_runs: Callable[[], Sequence[Path]]
    report: Report
    trial: Trial
    whole: WholeSets
    title: str
    samples: bool = True
    watch: Watch = field(default_factory=Watch)
    gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))
    _runs: dict[str, Path] = field(default_factory=dict)
    _found: float = -math.inf

    def runs(self) -> dict[str, Path]:
        """Return the runs by their keys; new ones are found after some seconds."""
        if time.monotonic() - self._found > _RESCAN:
            with suppress(CycadaError):  # what was there is gone now; its run tells
                self._runs = {key_of(run): run for run in self.find_runs()}
            self._found = time.monotonic()
        return self._runs

    def run(self, key: str) -> Path:
        """Return a run by its key.

        Raises:
            HTTPException: There is none.
        """
        run = self.runs().get(key)
        if run is None:
            raise HTTPException(404, "There is no such run.")
        return run

    def names(self) -> dict[str, str]:
        """Return what the runs are called: the last part of the path, with a number if shared."""
        names: dict[str, str] = {}
        for key, run in self.runs().items():
            count = sum(name.partition(" (")[0] == run.name for name in names.values())
            names[key] = f"{run.name} ({count + 1})" if count else run.name
        return names


def make_app(site: Site, *, token: str, port: int) -> ASGIApp:
    """Return the server's application.

    Args:
        site: What it shows.
        token: The part of the path that whoever asks must know.
        port: At which it is asked.
    """
    routes = [
        Route("/", _with(site, _page)),
        Route("/view.js", _with(site, _script)),
        Route("/state", _with(site, _state)),
        Route("/runs/{key}/curves", _with(site, _curves)),
        Route("/runs/{key}/samples/{step}.png", _with(site, _samples)),
        Route("/try", _with(site, _try), methods=["POST"]),
        Route("/report", _with(site, _make_report), methods=["POST"]),
        Mount("/report", _ReportFiles(site)),
        Route("/faces/faces.html", _with(site, _faces)),
        Route(f"/faces/{PLACE}/{{identity}}/items.js", _with(site, _items)),
        Route(f"/faces/{PLACE}/{{identity}}/thumbs/{{number:int}}.webp", _with(site, _thumbs)),
        Route(f"/faces/{PLACE}/{{identity}}/full/{{number:int}}.js", _with(site, _full)),
        Route(f"/faces/{PLACE}/{{identity}}/whole/{{number:int}}.js", _with(site, _whole)),
    ]
    handlers: Mapping[Any, Any] = {HTTPException: _refused}
    app = Starlette(routes=[Mount(f"/{token}", routes=routes)], exception_handlers=dict(handlers))
    return Guard(app, token=token, port=port)


class _ReportFiles:
    """The files of the newest report, and nothing beside them."""

    def __init__(self, site: Site) -> None:
        self.site = site

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        folder = self.site.report.folder
        if folder is None:
            raise HTTPException(404, "The report is not there yet.")

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                policy = (b"content-security-policy", _REPORT_POLICY.encode())
                message["headers"] = [*message["headers"], policy]
            await send(message)

        await StaticFiles(directory=folder)(scope, receive, sending)


Answer = Callable[[Site, Request], Awaitable[Response]]


def _with(site: Site, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    async def answering(request: Request) -> Response:
        try:
            return await answer(site, request)
        except CycadaError as error:
            return JSONResponse({"error": _told(error, site)}, 422)
        except OSError as error:  # what was there a moment ago
            return JSONResponse({"error": f"Cannot be read ({error.strerror})."}, 422)

    return answering


async def _refused(_request: Request, error: HTTPException) -> Response:
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def _told(error: CycadaError, site: Site) -> str:
    """Return a sentence that names runs without their folders."""
    text = str(error)
    for run in site.runs().values():
        text = text.replace(f"{run.parent}{os.sep}", "")
    return text


async def _page(site: Site, _request: Request) -> Response:
    text = render_view(
        title=site.title, samples=site.samples, largest_upload=LARGEST_UPLOAD,
        units=[unit for unit in get_args(UnitOrAuto) if unit != "auto"],
    )  # fmt: skip
    return HTMLResponse(text, headers={"content-security-policy": _OWN_POLICY})


async def _script(_site: Site, _request: Request) -> Response:
    return Response(script(), media_type="text/javascript")


async def _state(site: Site, _request: Request) -> Response:
    return JSONResponse(await run_in_threadpool(_state_of, site))


def _state_of(site: Site) -> dict[str, Any]:
    names = site.names()
    runs = [_run_state(key, run, names[key], site) for key, run in site.runs().items()]
    return {"runs": runs, "report": dict(site.report.state())}


def _run_state(key: str, run: Path, name: str, site: Site) -> dict[str, Any]:
    try:
        state = site.watch.state(run)
    except CycadaError as error:
        return {"key": key, "name": name, "state": "broken", "told": _told(error, site),
                "checkpoints": [], "samples": []}  # fmt: skip
    told = state.told.replace(f"{state.root.parent}{os.sep}", "")
    return {
        "key": key, "name": name, "kind": state.kind, "state": state.state, "told": told,
        "step": state.step, "steps": state.steps, "version": state.version,
        "left": "" if state.left is None else spoken_time(state.left),
        "rate": "" if state.rate is None else _rate(state.rate),
        "samples": state.samples if site.samples else (), "checkpoints": state.checkpoints,
    }  # fmt: skip


def _rate(per_second: float) -> str:
    if per_second >= 1:
        return f"{per_second:.3g} steps/s"
    return f"{1 / per_second:.3g} s/step"


async def _curves(site: Site, request: Request) -> Response:
    run = site.run(request.path_params["key"])
    return JSONResponse({"plots": await run_in_threadpool(_curves_of, site, run)})


def _curves_of(site: Site, run: Path) -> list[str]:
    section = curves_section("", [(run.name, site.watch.log(run))])
    blocks = section.blocks if section else ()
    return [svg for block in blocks if isinstance(block, Plots) for svg in block.svgs]


async def _samples(site: Site, request: Request) -> Response:
    run, step = site.run(request.path_params["key"]), request.path_params["step"]
    if not site.samples or step not in sample_steps(run):
        raise HTTPException(404, "There are no such samples.")
    content = await run_in_threadpool((run / "samples" / f"{step}.png").read_bytes)
    return Response(content, media_type="image/png")


async def _faces(site: Site, _request: Request) -> Response:
    if not site.samples:
        raise HTTPException(404, "Pictures of faces are left out.")
    text = await run_in_threadpool(site.whole.page, list(site.runs().values()))
    return HTMLResponse(text, headers={"content-security-policy": _REPORT_POLICY})


def _drawn(site: Site, request: Request) -> DrawnSet:
    found = site.whole.sets.get(request.path_params["identity"])
    if found is None or request.path_params.get("number", 0) >= found.shown.count:
        raise HTTPException(404, "There is no such face.")
    return found


async def _items(site: Site, request: Request) -> Response:
    return Response(_drawn(site, request).script, media_type="text/javascript")


async def _thumbs(site: Site, request: Request) -> Response:
    drawn = _drawn(site, request)
    return await _in_turn(site, request, drawn.thumbs, "image/webp")


async def _full(site: Site, request: Request) -> Response:
    drawn = _drawn(site, request)
    return await _in_turn(site, request, drawn.full, "text/javascript")


async def _whole(site: Site, request: Request) -> Response:
    drawn = _drawn(site, request)
    return await _in_turn(site, request, drawn.whole, "text/javascript")


async def _in_turn(
    site: Site, request: Request, draw: Callable[[int], bytes | str], kind: str
) -> Response:
    """Draw a face when its turn comes, unless it has been scrolled out of sight meanwhile."""
    async with site.gate:
        if await request.is_disconnected():
            return Response(status_code=499)
        content = await run_in_threadpool(draw, request.path_params["number"])
    return Response(content, media_type=kind)


async def _make_report(site: Site, _request: Request) -> Response:
    site.report.make()
    return JSONResponse(dict(site.report.state()))


async def _try(site: Site, request: Request) -> Response:
    if request.headers.get("content-type") != _CONTENT:
        raise HTTPException(415, f"An image is sent as {_CONTENT}.")
    wanted = _wanted(site, request.query_params)
    name = _NOT_SHOWN.sub("", request.query_params.get("name", ""))[:_LONGEST_NAME] or "The image"
    try:
        content = await _body(request)
    except ClientDisconnect:
        return Response(status_code=499)
    tried = await run_in_threadpool(site.trial, content, name, wanted)
    return JSONResponse(await run_in_threadpool(_result, tried))


_NOT_SHOWN = re.compile(r"[\x00-\x1f\x7f/\\]")
_LONGEST_NAME = 120


async def _body(request: Request) -> bytes:
    """Return what was sent, which is kept in memory alone.

    Raises:
        HTTPException: It is too large.
    """
    too_large = HTTPException(
        413, f"The file is larger than {LARGEST_UPLOAD >> 20} MB; translate it with `cycada "
        "translate`.", headers={"connection": "close"},  # or the rest of it would be waited for
    )  # fmt: skip
    stated = request.headers.get("content-length", "0")
    if not stated.isdecimal() or int(stated) > LARGEST_UPLOAD:
        raise too_large
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > LARGEST_UPLOAD:
            raise too_large
    return bytes(content)


def _wanted(site: Site, given: Mapping[str, str]) -> Wanted:
    """Return what the page has asked for.

    Raises:
        HTTPException: That is not what it asks.
    """

    def place(kind: str) -> tuple[Path, int] | None:
        text = given.get(kind, "")
        if not text:
            return None
        key, _, step = text.partition("@")
        if not step.isdecimal():
            raise HTTPException(400, f"{kind} is a run and a step.")
        return site.run(key), int(step)

    shows, unit = given.get("shows", "auto"), given.get("unit", "auto")
    if shows not in get_args(Shows) or unit not in get_args(UnitOrAuto):
        raise HTTPException(400, "There is no such kind of image.")
    return Wanted(
        translator=place("translator"), detector=place("detector"),
        shows=shows, unit=unit, find_face=given.get("face") == "1",  # type: ignore[arg-type]
    )  # fmt: skip


def _result(tried: Tried) -> dict[str, Any]:
    """Return what was made of an image as plain data; thermal pictures as numbers."""
    pictures: list[dict[str, Any]] = []
    for picture in tried.pictures:
        height, width = picture.pixels.shape[-2:]
        shown = {"key": picture.key, "label": picture.label, "kind": picture.kind,
                 "height": height, "width": width}  # fmt: skip
        if picture.kind == "rgb":
            content = image_writing.encode_png(
                images.from_signed(picture.pixels, dtype=torch.uint8)
            )
            shown["uri"] = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        else:
            shown["counts"] = base64.b64encode(counts(picture.pixels)).decode()
        pictures.append(shown)
    difference = None
    if tried.difference is not None and tried.mean_difference is not None:
        largest = float(tried.difference.max())
        height, width = tried.difference.shape
        scaled = 2 * tried.difference / max(largest, 1e-9) - 1
        difference = {
            "mean": tried.mean_difference, "largest": largest, "height": height, "width": width,
            "counts": base64.b64encode(counts(scaled[None])).decode(),
            "unit": "K" if tried.shows == "thermal" and tried.window else "grey levels",
        }  # fmt: skip
    return {
        "name": tried.name, "shows": tried.shows, "height": tried.size[0], "width": tried.size[1],
        "pictures": pictures, "difference": difference,
        "window": [tried.window.low, tried.window.high] if tried.window else None,
        "names": tried.names, "meanings": tried.meanings, "thresholds": tried.thresholds,
        "readings": [
            {"side": each.side, "label": each.label, "probabilities": each.probabilities,
             "present": each.present, "intensities": [
                 value if math.isfinite(value) else None for value in each.intensities]}
            for each in tried.readings
        ],
        "notes": tried.notes,
        "file": base64.b64encode(tried.file).decode(),
    }  # fmt: skip
