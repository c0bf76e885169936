"""Measurements of the served path; every result in perf/results names its machine and commit."""

from serving.paths import ROOT

LATEST = ROOT / "perf" / "results" / "latest"  # git ignores it: what is committed lies beside it, named by its machine
