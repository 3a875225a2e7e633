"""The whole process as `atalaia up` runs it, with actors that retire sooner than after 300 s.

    .venv/bin/python bench/serve_briefly.py --idle-s 20 --port 0 --data-dir DIRECTORY

How long an idle actor stays is nobody's setting; a bench that waits for it needs it short.
"""

import argparse
from functools import partial
from pathlib import Path

import trio

from atalaia.config.kernel_cache import choose_cache
from atalaia.config.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--idle-s", type=float, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    options = parser.parse_args()
    choose_cache(options.data_dir)
    from atalaia.app import run
    from atalaia.engine.limits import EngineLimits
    from atalaia.telemetry.logging import configure_logging

    configure_logging("console")
    serve = partial(
        run,
        Settings(host="127.0.0.1", port=options.port, data_dir=options.data_dir),
        announce=lambda *_: print("Ctrl-C stops it", flush=True),
        progress=lambda _: None,
        limits=EngineLimits(idle_s=options.idle_s),
    )
    trio.run(serve)


if __name__ == "__main__":
    main()
