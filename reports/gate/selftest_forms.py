"""A selftest as text, Markdown and JSON."""

from __future__ import annotations

import json
from typing import Any

from .. import markdown, text
from .selftest import EFFECTS, FALSE_ALARMS_MAX, POWER_MIN, TARGETS, WITHIN, Selftest

_SHOWN = ((0.20, 1), (0.20, 3), (0.10, 1), (0.10, 3), (0.10, 7), (0.05, 14))


def _facts(test: Selftest) -> list[tuple[str, str]]:
    found = [
        ("real nights", f"{test.nights}, of which {test.gated} could alarm, {test.shifted} shifted, {test.unfit} unfit"),
        ("false alarms, real", f"{len({d for d, _ in test.alarms})} nights of {test.gated}" + (f": {', '.join(f'{s} on {d[:16]}' for d, s in test.alarms)}" if test.alarms else "")
         + f"; 95 % upper bound {text.percent(test.real_bound)}"),
        ("false alarms, synthetic", f"{test.synthetic_alarms} nights of {test.synthetic_gated} drawn in blocks of five ({test.synthetic_shifted} shifted); "
         f"95 % upper bound {text.percent(test.synthetic_bound)}" if test.synthetic else "not measured"),
    ]
    found += [("injected", f"{date[:16]} {what}: {word}, {', '.join(alarms) or 'no new alarm'}") for date, what, alarms, word in test.injected]
    found.append(("verdict", "fit: no false alarm on real nights, bound at most "
                  f"{text.percent(FALSE_ALARMS_MAX)}, and every gated series shows 10 % within 7 nights {POWER_MIN:.0%} of the time" if test.fit else
                  "not fit by METHOD d.6: " + "; ".join(_misses(test))))
    return found


def _misses(test: Selftest) -> list[str]:
    found = []
    if test.alarms:
        found.append("a false alarm on a real night")
    if test.synthetic_bound > FALSE_ALARMS_MAX:
        found.append(f"the bound of false alarms is {text.percent(test.synthetic_bound)}" + ("" if test.synthetic_alarms else " (more synthetic nights would lower it)"))
    gated = [p for p in test.power if p.gated]
    weak = [p for p in gated if p.found[(0.10, 7)] < POWER_MIN]
    found += [f"not found within its nights: {what}" for what in test.missed]
    if not gated:
        found.append("no series is steady enough to be gated")
    if weak:
        found.append(f"{len(weak)} of {len(gated)} gated series miss too many slowdowns of 10 % within 7 nights")
    return found


def _rows(test: Selftest) -> list[tuple[str, ...]]:
    return [(p.series, "–" if p.detectable is None else text.percent(p.detectable), "yes" if p.gated else "too noisy", *(f"{p.found[key]:.0%}" for key in _SHOWN)) for p in test.power]


def _columns() -> tuple[str, ...]:
    return ("series", "detects", "gated", *(f"{effect:.0%} in {within}" for effect, within in _SHOWN))


def as_text(test: Selftest) -> str:
    targets = ", ".join(f"{effect:.0%} in {within}: {share:.0%}" for (effect, within), share in TARGETS.items())
    lines = [f"{name:24} {words}" for name, words in _facts(test)]
    return "\n".join([*lines, "", "Detection by replay-time scaling (share of repetitions that found the slowdown within so many nights):",
                      text.columns(_columns(), _rows(test)), f"METHOD d.5 asks for {targets}."]) + "\n"


def as_markdown(test: Selftest) -> str:
    return "\n".join(["## sbench selftest", "", markdown.grid(("what", "value"), _facts(test), numbers=False), "", markdown.grid(_columns(), _rows(test))]) + "\n"


def document(test: Selftest) -> dict[str, Any]:
    """Everything, for selftest.json."""
    power = [{"series": p.series, "detectable": p.detectable, "gated": p.gated,
              "found": [{"effect": e, "nights": w, "share": p.found[(e, w)]} for e in EFFECTS for w in WITHIN]} for p in test.power]
    return {"nights": test.nights, "gated": test.gated, "shifted": test.shifted, "unfit": test.unfit, "false_alarms": [{"night": d, "series": s} for d, s in test.alarms],
            "upper_bound": test.real_bound, "synthetic": {"nights": test.synthetic_gated, "shifted": test.synthetic_shifted, "false_alarms": test.synthetic_alarms,
                                                          "upper_bound": test.synthetic_bound},
            "power": power, "injected": [{"night": d, "what": w, "alarms": a, "verdict": v} for d, w, a, v in test.injected], "fit": test.fit}


def as_json(test: Selftest) -> str:
    return json.dumps(document(test), indent=1, allow_nan=False) + "\n"
