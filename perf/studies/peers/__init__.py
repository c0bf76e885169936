"""The same student served the way people do it today, same load, same machine: `python -m perf.studies.peers`."""
