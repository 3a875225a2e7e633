"""The bench's rule as a bytewax user writes it: `stateful_map` with a deque and a running sum.

    python rules_bytewax.py SENSORS READINGS

Prints {"readings", "seconds", "opened"}; the same readings as bench/rules.py.
"""

import json
import sys
import time
from collections import deque

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, run_main
from stream import CLEAR, FOR_US, OPEN, WIDTH_US, readings


class State:
    """One sensor's window and alert."""

    def __init__(self):
        self.window, self.total, self.since, self.open = deque(), 0.0, None, False


def step(state, reading):
    state = state or State()
    ts, value = reading
    state.window.append(reading)
    state.total += value
    while state.window[0][0] <= ts - WIDTH_US:
        state.total -= state.window.popleft()[1]
    mean = state.total / len(state.window)
    out = None
    if not state.open:
        if mean > OPEN:
            state.since = ts if state.since is None else state.since
            if ts - state.since >= FOR_US:
                state.open, out = True, ("opened", ts)
        else:
            state.since = None
    elif mean < CLEAR:
        state.open, state.since, out = False, None, ("cleared", ts)
    return state, out


def main():
    sensors, count = int(sys.argv[1]), int(sys.argv[2])
    items = [(str(sensor), (ts, value)) for sensor, ts, value in readings(sensors, count)]
    found = []
    flow = Dataflow("rules")
    source = op.input("in", flow, TestingSource(items, batch_size=1000))
    steps = op.stateful_map("step", source, step)
    alerts = op.filter("alerts", steps, lambda pair: pair[1] is not None)
    op.output("out", alerts, TestingSink(found))
    began = time.perf_counter()
    run_main(flow)
    took = time.perf_counter() - began
    opened = sum(1 for _, (kind, _) in found if kind == "opened")
    print(json.dumps({"readings": count, "seconds": took, "opened": opened}))


main()
