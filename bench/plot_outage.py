"""Draw what bench/outage.py saw: answers and refusals a second, and memory. Needs matplotlib.

python bench/plot_outage.py FIGURES.json PICTURE.png
"""

import json
import sys

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

CALM_S = 5
TITLES = {
    "frozen": "Postgres frozen (SIGSTOP)",
    "stopped": "Postgres shut down",
    "killed": "Postgres killed (-9)",
    "cut": "Postgres cut off in silence",
    "full": "Postgres with a full disk",
    "broker frozen": "RabbitMQ frozen (SIGSTOP)",
    "broker killed": "RabbitMQ killed (-9)",
    "broker cut": "RabbitMQ cut off in silence",
    "broker memory": "RabbitMQ with its memory alarm",
    "broker disk": "RabbitMQ with its disk alarm",
}
ANSWERED, REFUSED, MEMORY = "#0072b2", "#d55e00", "#555555"

with open(sys.argv[1]) as file:
    seconds = json.load(file)["seconds"]
figure, panels = plt.subplots(
    len(seconds), 1, figsize=(9, 1.7 * len(seconds)), sharex=True, constrained_layout=True,
    squeeze=False,
)  # fmt: skip
panels = panels[:, 0]
for panel, (name, rows) in zip(panels, seconds.items(), strict=True):
    at, answered, refused, memory = zip(*rows[:-1], strict=True)
    panel.step(at, answered, where="post", color=ANSWERED, label="batches answered per s")
    panel.step(at, refused, where="post", color=REFUSED, label="refused with 503 per s")
    panel.set_title(TITLES[name], loc="left", fontsize=9)
    panel.axvline(CALM_S, color=MEMORY, linewidth=0.6, linestyle=":")
    beside = panel.twinx()
    beside.plot(at, memory, color=MEMORY, linewidth=0.9, linestyle="--", label="memory, MiB")
    beside.set_ylim(0, 1.5 * max(memory))
    beside.tick_params(labelsize=7)
    panel.tick_params(labelsize=7)
    panel.set_ylim(bottom=0)
lines, labels = panels[0].get_legend_handles_labels()
more, names = beside.get_legend_handles_labels()
figure.legend(lines + more, labels + names, loc="outside upper center", ncols=3, fontsize=8)
panels[-1].set_xlabel("seconds; away from the dotted line on", fontsize=8)
figure.savefig(sys.argv[2], dpi=110)
