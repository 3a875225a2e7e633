"""The bench's window as a pathway user writes it: sliding, 5 minutes wide, a hop of 1 minute.

    python rules_pathway.py SENSORS READINGS

Not the same answer: a mean per sensor and minute instead of one per reading, and no alert; an
exact window per reading (`intervals_over`) does not end. Prints {"readings", "seconds", "above"}.
"""

import json
import sys
import time

import pandas as pd
import pathway as pw
from stream import OPEN, readings


def main():
    sensors, count = int(sys.argv[1]), int(sys.argv[2])
    rows = list(readings(sensors, count))
    frame = pd.DataFrame(
        {
            "sensor": [sensor for sensor, _, _ in rows],
            "ts": [ts // 1_000_000 for _, ts, _ in rows],
            "value": [value for _, _, value in rows],
        }
    )
    began = time.perf_counter()
    table = pw.debug.table_from_pandas(frame)
    means = table.windowby(
        table.ts,
        window=pw.temporal.sliding(hop=60, duration=300),
        instance=table.sensor,
    ).reduce(
        sensor=pw.this._pw_instance,
        end=pw.this._pw_window_end,
        mean=pw.reducers.avg(pw.this.value),
    )
    above = pw.debug.table_to_pandas(means.filter(means.mean > OPEN))
    took = time.perf_counter() - began
    print(json.dumps({"readings": count, "seconds": took, "above": len(above)}))


main()
