"""A model's `config.pbtxt`, as the Python backend hands it over."""

from __future__ import annotations

import json
import os
from dataclasses import fields
from typing import Any

from serving.pictures.check import PictureLimits


class Config:
    """A model's `config.pbtxt` as the backend hands it over; parameters are strings there."""

    def __init__(self, args: dict[str, str]) -> None:
        self.model: dict[str, Any] = json.loads(args["model_config"])

    def parameter(self, name: str, default: str) -> str:
        """Value of `parameters { key: name }`; an environment variable FACEWARDEN_NAME goes before it."""
        configured: str = self.model.get("parameters", {}).get(name, {}).get("string_value", default)
        return os.environ.get(f"FACEWARDEN_{name.upper()}", configured)

    def limits(self) -> PictureLimits:
        """Size limits for one image, from `max_bytes` and `max_pixels`."""
        return PictureLimits(**{f.name: int(self.parameter(f.name, str(f.default))) for f in fields(PictureLimits)})

    def threads(self) -> int:
        """CPU threads for one instance: `threads`, or with 0 the cores shared out among the instances."""
        instances = sum(group.get("count", 1) for group in self.model["instance_group"])
        return int(self.parameter("threads", "0")) or max(1, len(os.sched_getaffinity(0)) // instances)
