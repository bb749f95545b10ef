"""The benchmarks as `make bench` calls them, on a handful of pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.timeout(320)
def test_every_contender_does_the_job_and_the_report_is_written(tmp_path: Path) -> None:
    report = tmp_path / "RESULTS.md"
    few = ["--pages", "60", "--warm-up", "10", "--rounds", "1", "--latencies", "0", "--items", "2000", "--threads", "8"]

    subprocess.run(
        [sys.executable, "-m", "benchmarks", "--databases", "sqlite", *few, "--output", str(report)],
        cwd=ROOT,
        check=True,
        timeout=300,
    )

    text = report.read_text()
    assert "| hand-written optimum (no ledger) |" in text
    assert "| 1.00 (1.00 to 1.00) |" in text
    assert "## SQLite, no latency" in text
    assert "## PostgreSQL" not in text
