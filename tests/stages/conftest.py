"""The server of ``cycada view``, in a thread of the tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch


@dataclass
class Made:
    """A report that is there already."""

    folder: Path | None
    asked: list[str] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        return {"making": False, "ready": "made", "page": "report.html", "at": "1:00", "fault": ""}

    def make(self) -> None:
        self.asked.append("make")


@dataclass
class Served:
    """Where a server is asked, and the report that it shows."""

    port: int
    token: str
    report: Made

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.token}/"


@pytest.fixture(scope="session")
def serve() -> Callable[..., AbstractContextManager[Served]]:
    """Return what serves paths, given a folder for the report and lists, while it is entered."""
    import uvicorn

    from cycada.stages.report import find_runs
    from cycada.stages.view import bound
    from cycada.stages.view_server import Site, make_app
    from cycada.stages.view_sets import WholeSets
    from cycada.stages.view_try import Trial

    @contextmanager
    def serving(paths: list[Path], folder: Path, *, token: str, **changes: Any) -> Iterator[Served]:
        report, cpu = Made(folder / "made"), torch.device("cpu")
        (folder / "made" / "report_files").mkdir(parents=True, exist_ok=True)
        (folder / "made" / "report.html").write_text("<!doctype html><p>the report</p>")
        whole = WholeSets(paths, folder / "lists", cpu, subjects=False, outside=False)
        site = Site(
            find_runs=lambda: find_runs(paths), report=report, trial=Trial(cpu), whole=whole,
            title="A title", **changes,
        )  # fmt: skip
        with bound(0) as listening:
            port = listening.getsockname()[1]
            server = uvicorn.Server(uvicorn.Config(
                make_app(site, token=token, port=port), log_level="warning", lifespan="off"
            ))  # fmt: skip
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            try:
                yield Served(port, token, report)
            finally:
                server.should_exit = True
                thread.join()

    return serving
