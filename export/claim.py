"""What a folder is made of, noted in it, so that an interrupted run does not go on with something else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec


def claim(note: Path, made_of: Mapping[str, Any], begun: bool) -> None:
    """Writes the note; ValueError where its folder was `begun` with something else."""
    now = json.loads(msgspec.json.encode(made_of))
    if begun and note.exists() and (before := json.loads(note.read_text())) != now:
        changed = [name for name in now if before.get(name) != now[name]]
        raise ValueError(f"{note.parent} was made with another {', '.join(changed)}; remove it to make it anew")
    note.write_text(json.dumps(now, indent=2) + "\n")
