"""The suites. The compiled kernel is kept in the virtual environment, chosen before any import."""

import sys
from pathlib import Path

from atalaia.config.kernel_cache import choose_cache

choose_cache(Path(sys.prefix))
