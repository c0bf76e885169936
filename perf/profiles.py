"""`profiles.toml` -> load profiles: what is asked, how often, for how long, and whether the loop is open or closed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from .load import Load, LoadError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE = Path(__file__).with_name("profiles.toml")
LOAD_KEYS = {field.name for field in fields(Load)}
PROFILE_KEYS = {"about", "warm_up_s", "only_by_name", "rate_unit", "load"}


class ProfileError(Exception):
    """A profile that cannot be; the message names it and what is wrong."""


@dataclass(frozen=True)
class Phase:
    """Loads that run at once."""

    name: str
    loads: tuple[Load, ...]


@dataclass(frozen=True)
class Profile:
    """A row of the table.

    Args:
        only_by_name: left out unless it is asked for.
        of_knee: rates are multiples of the knee; `at_knee` makes them rates.
    """

    name: str
    about: str
    warm_up_s: float
    phases: tuple[Phase, ...]
    only_by_name: bool = False
    of_knee: bool = False

    def __post_init__(self) -> None:
        if not self.phases:
            raise ProfileError(f"profile {self.name!r} has no load")
        if self.warm_up_s < 0:
            raise ProfileError(f"profile {self.name!r}: warm_up_s must not be below 0")

    def at_knee(self, knee: float) -> Profile:
        """The same with rates in requests a second; `knee` is the highest throughput, in requests a second."""
        if not self.of_knee:
            return self
        phases = [
            replace(phase, loads=tuple(replace(load, rate=load.rate * knee) for load in phase.loads))
            for phase in self.phases
        ]
        return replace(self, phases=tuple(phases), of_knee=False)


def load_profiles(path: Path = TABLE) -> dict[str, Profile]:
    """The table; raises ProfileError for what it cannot mean."""
    try:
        return {name: _profile(name, row) for name, row in tomllib.loads(path.read_text()).items()}
    except (tomllib.TOMLDecodeError, LoadError) as exc:
        raise ProfileError(f"{path.name}: {exc}") from exc


def chosen(profiles: dict[str, Profile], name: str | None) -> list[Profile]:
    """All that are not for the asking, or the one that is asked for, with what it needs before; ProfileError."""
    if name is None:
        return [profile for profile in profiles.values() if not profile.only_by_name]
    if name not in profiles:
        raise ProfileError(f"no load profile {name!r}; choose one of {', '.join(profiles)}")
    before = [profiles["saturate"]] if profiles[name].of_knee else []
    return [*before, profiles[name]]


def _profile(name: str, row: dict[str, Any]) -> Profile:
    unknown = set(row) - PROFILE_KEYS - LOAD_KEYS
    if unknown or "about" not in row or "warm_up_s" not in row:
        raise ProfileError(f"profile {name!r}: needs about and warm_up_s, knows no {', '.join(sorted(unknown)) or '?'}")
    defaults = {key: value for key, value in row.items() if key in LOAD_KEYS}
    if row.get("rate_unit", "knee") != "knee":
        raise ProfileError(f"profile {name!r}: rate_unit can only be 'knee'")
    return Profile(
        name=name,
        about=row["about"],
        warm_up_s=row["warm_up_s"],
        phases=_phases(name, [defaults | load for load in row.get("load", [])]),
        only_by_name=row.get("only_by_name", False),
        of_knee="rate_unit" in row,
    )


def _phases(profile: str, rows: Sequence[dict[str, Any]]) -> tuple[Phase, ...]:
    """Loads by phase, in the order of the table."""
    phases: dict[str, list[Load]] = {}
    for row in rows:
        values = {key: value for key, value in row.items() if key != "phase"}
        try:
            load = Load(**values)
        except TypeError as exc:
            raise ProfileError(f"profile {profile!r}, load {row.get('name')!r}: {exc}") from exc
        phases.setdefault(row.get("phase", load.name), []).append(load)
    return tuple(Phase(name, tuple(loads)) for name, loads in phases.items())
