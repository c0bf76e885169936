"""`profiles.toml` -> load profiles: what is asked, how often, for how long, and whether the loop is open or closed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from serving.settings import Settings, read_toml

from .loads import Load

TABLE = Path(__file__).with_name("profiles.toml")


class ProfileTable(Settings):
    """A profile as the file has it; a load may have a `phase` beside the keys of `Load`."""

    about: str
    warm_up_s: float
    only_by_name: bool = False
    rate_unit: Literal["per second", "knee"] = "per second"
    defaults: dict[str, Any] = msgspec.field(default_factory=dict)
    load: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Phase:
    """Loads that run at once."""

    name: str
    loads: tuple[Load, ...]


@dataclass(frozen=True)
class Profile:
    """Phases that run one after the other; ValueError where there is none.

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
            raise ValueError(f"profile {self.name!r} has no load")
        if self.warm_up_s < 0:
            raise ValueError(f"profile {self.name!r}: warm_up_s must not be below 0")

    def at_knee(self, knee: float) -> Profile:
        """The same with rates in requests a second; `knee` is the highest throughput, in requests a second."""
        if not self.of_knee:
            return self
        phases = []
        for phase in self.phases:
            loads = (msgspec.structs.replace(load, rate=load.rate * knee) for load in phase.loads)
            phases.append(Phase(phase.name, tuple(loads)))
        return Profile(self.name, self.about, self.warm_up_s, tuple(phases), self.only_by_name)


def load_profiles(path: Path = TABLE) -> dict[str, Profile]:
    """The table; ValueError for what it cannot mean."""
    return {name: _profile(name, table) for name, table in read_toml(path, dict[str, ProfileTable]).items()}


def chosen(profiles: dict[str, Profile], name: str | None) -> list[Profile]:
    """All that are not for the asking, or the one that is asked for, with what it needs before; ValueError."""
    if name is None:
        return [profile for profile in profiles.values() if not profile.only_by_name]
    if name not in profiles:
        raise ValueError(f"no load profile {name!r}; choose one of {', '.join(profiles)}")
    before = [profiles["saturate"]] if profiles[name].of_knee else []
    return [*before, profiles[name]]


def _profile(name: str, table: ProfileTable) -> Profile:
    phases: dict[str, list[Load]] = {}  # in the order of the table
    for row in table.load:
        values = {**table.defaults, **row}
        phase = values.pop("phase", values.get("name", ""))
        try:
            phases.setdefault(phase, []).append(msgspec.convert(values, Load))
        except msgspec.ValidationError as exc:
            raise ValueError(f"profile {name!r}, load {row.get('name')!r}: {exc}") from exc
    made = tuple(Phase(phase, tuple(loads)) for phase, loads in phases.items())
    return Profile(name, table.about, table.warm_up_s, made, table.only_by_name, table.rate_unit == "knee")
