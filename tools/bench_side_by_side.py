"""How much faster two trainings are side by side than one after the other.

Trains the demo's detector of local structure twice, on phantom faces: in this process with all
threads, and in two processes with half of them each. Prints milliseconds per step of one training.

    python tools/bench_side_by_side.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

from cycada.config import DetectorConfig
from cycada.progress import Progress
from cycada.settings import load_config
from cycada.stages.phantom import PhantomOptions, make_phantom
from cycada.stages.side_by_side import Job, start_workers
from cycada.stages.train_detector import run_training


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of each training (default 300)")
    steps = parser.parse_args().steps
    quiet = Progress(shown=False)
    with tempfile.TemporaryDirectory() as folder, start_workers(2, quiet) as workers:
        faces = Path(folder) / "faces"
        make_phantom(
            PhantomOptions(
                out=faces, rgb_subjects=60, thermal_subjects=5, frames=8, size=64, seed=0,
                paired=(),
            ),
            progress=quiet,
        )  # fmt: skip

        def training(name: str, steps: int) -> Job:
            settings = {
                "backbone": "small", "pretrained": "none", "size": 64, "view": "structure",
                "source": [str(faces)], "steps": steps, "validate_every": steps,
            }  # fmt: skip
            config = load_config(DetectorConfig, None, (), settings)
            act = partial(run_training, config, Path(folder) / name)
            return Job(name, name, act, done=lambda: False)

        def seconds(number: int, *, together: bool) -> float:
            jobs = [training(f"{number}-{together}-{place}", number) for place in "ab"]
            began = time.perf_counter()
            if together:
                workers.run(jobs, begun=lambda _: None, ended=lambda: None)
            else:
                for job in jobs:
                    job.act(progress=quiet)
            return time.perf_counter() - began

        print(f"{torch.get_num_threads()} threads")
        for together, title in ((False, "one after the other"), (True, "side by side")):
            few = seconds(10, together=together)  # what a start costs is taken off
            each = (seconds(10 + steps, together=together) - few) / (2 * steps)
            print(f"{title}: {1000 * each:.1f} ms per step")


if __name__ == "__main__":
    main()
