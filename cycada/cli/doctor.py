"""``cycada doctor``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cycada.cli.output import say

if TYPE_CHECKING:
    from cycada.stages.doctor import Diagnosis


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--paths", is_flag=True, help="Also name folders, which may name you.")
@click.pass_context
def doctor(context: click.Context, *, as_json: bool, paths: bool) -> None:
    """Tell what is installed, what it runs on, and what is missing for which verb.

    Made to be pasted where you ask for help: it names no folder, person or machine. Ends with 1
    where the installation is broken.

    \b
    cycada doctor
    cycada doctor --json
    """  # noqa: D301  # click keeps the lines after the backspace
    from cycada.cli import VERBS
    from cycada.stages.doctor import examine

    found = examine(VERBS, folders=paths)
    say(found.to_json() if as_json else "\n".join(_lines(found)))
    context.exit(1 if found.broken else 0)


def _lines(found: Diagnosis) -> list[str]:
    lines = [f"cycada {found.cycada}, Python {found.python}, {found.system}", "", "Packages"]
    lines += _wrapped([f"{each.name} {each.version or '-'}" for each in found.packages])
    lines += ["", "Devices", *_devices(found), "", "Room", *_room(found), "", "Extras"]
    for extra in found.extras:
        state = "yes" if extra.state == "installed" else extra.state
        lines.append(f"  {extra.name:8}{state:9}{extra.brings}")
    lines += ["", "Verbs"]
    lines += _wrapped([verb for verb, lacks in found.verbs.items() if not lacks], "all of ")
    for verb, lacks in found.verbs.items():
        lines += [f"  {verb} without {each}" for each in lacks]
    lines += ["", *(f"{name}: {path}" for name, path in found.folders.items()), *found.notes]
    return [*lines, *(found.broken or ("The installation is whole.",))]


def _devices(found: Diagnosis) -> list[str]:
    known = found.devices
    counts = f"cores: {known.get('cores', '?')}, threads: {known.get('threads', '?')}"
    lines = [
        f"  {known['processor']}; {counts}",
        f"  memory {known.get('memory_gb', '?')} GB, {known.get('memory_free_gb', '?')} GB free",
    ]
    for gpu in known.get("gpus", ()):
        free = f", {gpu['memory_free_gb']} GB free" if "memory_free_gb" in gpu else ""
        lines.append(
            f"  {gpu['name']}, compute capability {gpu['capability']}, {gpu['memory_gb']} GB{free}"
        )
    if not known.get("gpus"):
        lines.append("  no GPU")
    built = f"CUDA {known['cuda']}" if known.get("cuda") else "no CUDA"
    lines.append(f"  PyTorch with {built}; bfloat16: {'yes' if known.get('bf16') else 'no'}")
    return lines


def _room(found: Diagnosis) -> list[str]:
    room = found.space
    if not room:
        return ["  could not be asked for"]
    there = f"{room['cache_files']} files of {room['cache_used_gb']} GB are there"
    return [
        f"  for downloaded weights {room['cache_free_gb']} GB free; {there}",
        f"  in this folder {room['here_free_gb']} GB free",
    ]


def _wrapped(words: list[str], first: str = "") -> list[str]:
    text = first + ", ".join(words)
    return click.wrap_text(text, width=88, initial_indent="  ", subsequent_indent="  ").splitlines()
