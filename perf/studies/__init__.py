"""Measurements beside `make perf`, each with its table beside it; `python -m perf.studies.NAME --help` says more."""
