from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FILE = Path(__file__).resolve().parents[2] / "tools" / "bench_index.py"


def test_every_use_is_measured_at_every_size(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    uses = ["read", "frames", "files", "index"]
    options = ["--rows", "60", "120", "--images", "60", "--uses", *uses, "--json", str(file)]
    ran = subprocess.run(
        [sys.executable, FILE, *options], capture_output=True, text=True, check=True
    )
    rows = [line.split("|")[1:-1] for line in ran.stdout.splitlines()]
    assert [cell.strip() for cell in rows[0]] == ["rows", "60", "120"]
    assert len(rows) == 2 + len(uses)
    found = json.loads(file.read_text())["uses"]
    for use in uses:
        sizes = ["60"] if use in ("files", "index") else ["60", "120"]  # images only at 60
        assert list(found[use]) == sizes
        for cost in found[use].values():
            assert cost["cpu"] > 0
            assert cost["wall"] > 0
            assert 50 < cost["peak_mb"] < 5000
