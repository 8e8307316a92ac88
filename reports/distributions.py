"""What distributions ship for container storage: read from distributions.ini, with the source and date of every row."""

from __future__ import annotations

import configparser
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from .errors import UsageError
from .result_file import Driver
from .text import plain

PATH = Path(__file__).with_name("distributions.ini")
UNKNOWN = "unknown"
FACILITIES = ("overlay", "btrfs", "zfs", "dm_thin", "aufs")
_STATES = ("in-tree", "out-of-tree", "absent", UNKNOWN)
# What a driver's kernel engine needs; those that are not here need nothing a distribution could lack.
_NEEDS = {"overlay2": "overlay", "overlay": "overlay", "btrfs": "btrfs", "zfs": "zfs", "devicemapper": "dm_thin", "aufs": "aufs"}
_WORDS = {"overlay": "overlayfs", "btrfs": "btrfs", "zfs": "ZFS", "dm_thin": "dm-thin", "aufs": "aufs"}


@dataclass(frozen=True)
class Distribution:
    """One row; `facilities` maps each of FACILITIES to in-tree, out-of-tree, absent or unknown."""

    key: str
    title: str
    aliases: tuple[str, ...]
    kernel: str
    root_fs: str
    engine_default: str
    facilities: dict[str, str]
    sources: tuple[str, ...]

    def excludes(self, driver: Driver) -> str:
        """Why the kernel there cannot run `driver`; "" when it can, or nobody knows."""
        need = _needs(driver)
        if [n for n in need if self.facilities[n] == "absent"]:
            return f"{self.title} does not ship {_words(n for n in need if self.facilities[n] == 'absent')}"
        return ""

    def remark(self, driver: Driver) -> str:
        """What stands between `driver` and running there; "" when it is shipped."""
        need = _needs(driver)
        out = [n for n in need if self.facilities[n] == "out-of-tree"]
        unknown = [n for n in need if self.facilities[n] == UNKNOWN]
        parts = ([f"{_words(out)} is an out-of-tree module there"] if out else []) + ([f"whether {_words(unknown)} is shipped is unknown"] if unknown else [])
        return "; ".join(parts)


def _words(names: object) -> str:
    return " and ".join(_WORDS[n] for n in names)


def _needs(driver: Driver) -> list[str]:
    """Facilities of a driver's kernel engine, its backing file system included; a user-space engine needs none."""
    if driver.engine == "userspace":
        return []
    found = [_NEEDS[driver.name]] if driver.name in _NEEDS else []
    return found + (["btrfs"] if driver.options.get("backing") == "btrfs" else [])


@lru_cache(maxsize=1)
def load() -> tuple[Distribution, ...]:
    """All rows, in the file's order. Raises UsageError where the file is wrong."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=(";",))
    parser.read_string(PATH.read_text(encoding="utf-8"))
    found = []
    for key in parser.sections():
        section = parser[key]
        facilities = {name: section[name] for name in FACILITIES}
        sources = tuple(line.strip() for line in section["sources"].strip().splitlines())
        if not set(facilities.values()) <= set(_STATES) or not sources:
            raise UsageError(f"{PATH} [{key}]: facilities are {', '.join(_STATES)}, and every row has sources")
        found.append(Distribution(key, section["title"], tuple(section["aliases"].split()), section["kernel"], section["root_fs"], section["engine_default"], facilities, sources))
    return tuple(found)


def find(name: str) -> Distribution:
    """By key or alias. Raises UsageError that lists all."""
    for distribution in load():
        if name.lower() in (distribution.key, *distribution.aliases):
            return distribution
    raise UsageError(f"no distribution '{plain(name)}'; there are {', '.join(d.key for d in load())}")
