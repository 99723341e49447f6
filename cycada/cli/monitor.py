"""``cycada monitor``."""

from __future__ import annotations

import io
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cycada.cli.output import is_main_process, say
from cycada.cli.reading import read_options, reading, stated_window

if TYPE_CHECKING:
    from cycada.stages.monitor import Monitored
    from cycada.vitals.alarms import Event
    from cycada.vitals.record import Vitals

_FOLDER = click.Path(path_type=Path, file_okay=False)
_STDIN = 0  # descriptor
_CLEAR = "\r\x1b[K"  # the line of a terminal


@click.command()
@click.argument("source", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--out", type=_FOLDER, required=True, help="Folder of the tables and the page.")
@click.option("--detector", type=_FOLDER, help="Run of a detector of AUs; else breathing alone.")
@click.option(
    "--score",
    type=click.Path(path_type=Path, dir_okay=False),
    help="TOML file of the dyspnea score, such as `cycada fit-dyspnea` writes.",
)
@click.option(
    "--faces",
    default="auto",
    show_default=True,
    metavar="auto|whole|DETECTOR|FILE",
    help="How the face is found: heads, yunet, a file of boxes or weights; whole: frames are it.",
)
@click.option("--raw", metavar="WIDTHxHEIGHT", help="Size of raw 16-bit frames in SOURCE `-`.")
@click.option(
    "--fps",
    type=click.FloatRange(min=0.1, max=1000),
    help="Frames per second, where SOURCE does not tell.",
)
@reading
@stated_window
@click.option("--device", default="auto", show_default=True, help="cpu, cuda, or auto.")
def monitor(
    *, source: Path, out: Path, detector: Path | None, score: Path | None, faces: str,
    raw: str | None, fps: float | None, device: str, **given: Any,
) -> None:  # fmt: skip
    """Watch one patient in SOURCE: breathing rate, apnea, AUs, and a score of dyspnea.

    Research use only: this is not a medical device.

    SOURCE is a thermal recording, a folder of its frames, or `-`: raw frames from standard input,
    little-endian and 16 bits a pixel. OUT/vitals.csv gets a row for each second as it passes,
    OUT/events.csv the alarms, OUT/monitor.html and OUT/vitals.svg show both. What cannot be told
    is an empty cell. Ctrl-C ends with all of it up to there.

    \b
    cycada monitor night.cptv --rotate 90 --detector runs/both --out results/patient
    cycada monitor - --raw 160x120 --fps 9 --unit centikelvin --out results/live
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.footage.raw import raw_size
    from cycada.stages.monitor import Listener, MonitorOptions
    from cycada.stages.monitor import monitor as watch
    from cycada.training.loading import device_named

    options = MonitorOptions(
        source=_standard_input() if str(source) == "-" else source,
        out=out,
        run=detector,
        score=score,
        read=read_options(domain="thermal", **given),
        size=None if raw is None else raw_size(raw),
        rate=fps,
        faces=faces,
        device=device_named(device),
    )
    shown = is_main_process() and sys.stderr.isatty()
    said = _Terminal(shown=shown)
    told = watch(options, listener=Listener(row=said.row, alarm=said.alarm, note=said.note))
    said.clear()
    _sum_up(told)


def _standard_input() -> io.FileIO:
    """Return it without a buffer, whose lock a thread that waits for a camera would hold."""
    from cycada.errors import UsageError

    try:
        if sys.stdin is not None:  # else descriptor 0 is closed, or some other file by now
            return io.FileIO(_STDIN, closefd=False)
    except OSError:
        pass
    raise UsageError("standard input is closed.")


class _Terminal:
    """A line that changes every second, and lines that stay, for alarms."""

    def __init__(self, *, shown: bool) -> None:
        self.shown = shown

    def row(self, vitals: Vitals) -> None:
        if self.shown:
            click.echo(_CLEAR + now(vitals), err=True, nl=False)

    def alarm(self, event: Event) -> None:
        from cycada.report.vitals_plot import clock

        self.clear()
        if event.lasts:
            say(f"{clock(event.raised)} ALARM {event.kind}: {event.reason}")
        else:
            say(f"{clock(event.end)} end of {event.kind}, which began at {clock(event.start)}")

    def note(self, text: str) -> None:
        self.clear()
        say(text)

    def clear(self) -> None:
        if self.shown:
            click.echo(_CLEAR, err=True, nl=False)


def now(vitals: Vitals) -> str:
    """Return a second in a line, such as ``0:42  16.3/min (0.81, nostrils)  score 0.12``."""
    from cycada.report.vitals_plot import clock

    rate = (
        f"no rate: {vitals.reason}" if math.isnan(vitals.rate)
        else f"{vitals.rate:.1f}/min ({vitals.quality:.2f}, {vitals.part})"
    )  # fmt: skip
    parts = [clock(vitals.seconds), "APNEA" if vitals.apnea else rate]
    if vitals.units:
        parts.append("no score" if math.isnan(vitals.score) else f"score {vitals.score:.2f}")
    if not vitals.face:
        parts.append("no face")
    return "  ".join(parts)


def _sum_up(told: Monitored) -> None:
    kinds = [event.kind for event in told.alarms]
    alarms = ", ".join(f"{kinds.count(kind)} of {kind}" for kind in dict.fromkeys(kinds))
    kept = " (kept)" if told.kept else " (stopped)" if told.stopped else ""
    given = told.given / max(told.rows, 1)
    say(
        f"{told.out}: {told.rows} seconds, a rate in {given:.0%} of them, "
        + (f"alarms: {alarms}" if kinds else "no alarms")
        + kept
    )
