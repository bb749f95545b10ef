"""Contenders side by side, on a loopback server: `python -m benchmarks` writes RESULTS.md."""
