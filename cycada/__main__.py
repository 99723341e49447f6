"""``python -m cycada``, the form that ``accelerate launch -m cycada`` starts."""

import sys

from cycada.cli import main
from cycada.cli.launch import launch, missing_processes

if __name__ == "__main__":
    if wanted := missing_processes():
        sys.exit(launch(wanted, sys.argv[1:]))
    main()
