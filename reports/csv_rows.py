"""Long-form CSV: one row per sample and value, for spreadsheets and other tools."""

from __future__ import annotations

import csv
import io

from .run_set import RunSet

COLUMNS = ("run_id", "date", "machine", "workload", "driver", "engine", "params", "block", "metric", "unit", "value")


def render(run_set: RunSet) -> str:
    """Every sample of every run: real_time in seconds, phases in seconds, metrics in the unit of their name."""
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(COLUMNS)
    for member in run_set.members:
        run = member.run
        units = {name: definition["unit"] for name, definition in run.body["metric_defs"].items()}
        machine = run.body["environment"]["identity"].get("machine", "")
        for case in run.cases:
            for driver in run.drivers.values():
                for block, sample in sorted(run.blocks(case, driver.slug).items()):
                    head = (run.body["run_id"], run.context["date"], machine, case.workload, driver.slug, driver.engine,
                            "/".join(f"{k}:{v}" for k, v in case.params), block)
                    writer.writerow((*head, "real_time", "s", f"{sample.seconds:.9g}"))
                    for name, phase in sample.phases.items():
                        writer.writerow((*head, f"phase.{name}", "s", f"{phase['seconds']:.9g}"))
                    for name, value in sample.metrics.items():
                        writer.writerow((*head, name, units.get(name, ""), f"{value:.9g}"))
    return output.getvalue()
