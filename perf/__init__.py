"""Measurements of the served path; every result in perf/results names its machine, versions and command."""
