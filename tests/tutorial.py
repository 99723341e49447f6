"""Run the blocks of a tutorial in order, in the working directory, as a reader would.

    python tests/tutorial.py docs/tutorials/synthetic-corpus.md

Files that the text says to save are saved, commands are given to the command line, Python runs in
one session, and what it prints has to be what the page says. All in one process, for each command
of its own would spend most of the time on importing torch.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.DOTALL | re.MULTILINE)
SAVED = re.compile(r"[Ss]ave this as `([^`]+)`:\s*$")


class Block(NamedTuple):
    """A fenced block and the text since the one before."""

    language: str
    code: str
    before: str


def blocks(text: str) -> Iterator[Block]:
    end = 0
    for found in BLOCK.finditer(text):
        yield Block(found[1], found[2], text[end : found.start()])
        end = found.end()


def run(text: str) -> None:
    session: dict[str, object] = {"__name__": "__main__"}
    printed: str | None = None
    for block in blocks(text):
        saved = SAVED.search(block.before)
        if saved:
            Path(saved[1]).write_text(block.code, encoding="utf-8")
        elif block.language == "bash":
            for line in block.code.replace("\\\n", " ").splitlines():
                command(shlex.split(line))
        elif block.language == "python":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(block.code, session)  # noqa: S102 - it is ours
            printed = out.getvalue()
            sys.stdout.write(printed)
            continue
        elif block.language == "text":
            if printed is None or printed != block.code:
                raise SystemExit(f"The page says:\n{block.code}\nbut this is printed:\n{printed}")
        elif block.language != "diff":  # a test has made these changes before
            raise SystemExit(f"What is to be done with this block of {block.language}?")
        printed = None


def command(words: list[str]) -> None:
    from accelerate.state import AcceleratorState

    from cycada.cli import main

    if words[0] != "cycada":
        raise SystemExit(f"Not a command of ours: {' '.join(words)}")
    AcceleratorState._reset_state(reset_partial_state=True)  # each is a process of its own
    sys.stdout.write(f"$ {shlex.join(words)}\n")
    sys.stdout.flush()
    main(words[1:], standalone_mode=False)


if __name__ == "__main__":
    run(Path(sys.argv[1]).read_text(encoding="utf-8"))
