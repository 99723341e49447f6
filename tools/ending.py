"""How tools end: a mistake or a stop is one sentence, and the exit code tells which."""

from __future__ import annotations

import sys
from collections.abc import Callable

from cycada.errors import CycadaError
from cycada.stopping import exit_code


def run_tool(main: Callable[[], None]) -> None:
    """Call ``main`` and end as the verbs of ``cycada`` do, without a traceback."""
    try:
        main()
    except CycadaError as problem:
        print(f"Error: {problem}", file=sys.stderr)
        sys.exit(problem.exit_code)
    except KeyboardInterrupt as stop:
        print("\nStopped. The same command continues.", file=sys.stderr)
        sys.exit(exit_code(stop))
