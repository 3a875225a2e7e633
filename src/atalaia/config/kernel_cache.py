"""Where numba keeps the compiled kernel between starts. To be chosen before numba is imported."""

import hashlib
import os
import shutil
from pathlib import Path


def choose_cache(parent: Path) -> Path:
    """A directory for this version of the sources alone; those of others are removed.

    Numba compares one function with its own file, so that a kernel compiled before a function it
    calls changed would be taken for current. NUMBA_CACHE_DIR, where set, is left as it is.
    """
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen)
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for source in sorted([*package.glob("rules/*.py"), *package.glob("wire/line_*.py")]):
        digest.update(source.read_bytes())
    cache = parent / f"kernel-{digest.hexdigest()[:16]}"
    for old in parent.glob("kernel-*"):
        if old != cache:
            shutil.rmtree(old, ignore_errors=True)
    os.environ["NUMBA_CACHE_DIR"] = str(cache)
    return cache
