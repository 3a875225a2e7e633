"""All that is compiled, before anybody asks: no request's deadline may pay for it."""

from atalaia.rules.backtest import compile_tally
from atalaia.rules.reorder import compile_reorder
from atalaia.rules.tenant_state import compile_kernel
from atalaia.wire.line_kernel import compile_scan


def compile_all() -> None:
    """Compile (or load from NUMBA_CACHE_DIR); takes some seconds the first time."""
    compile_kernel()
    compile_tally()
    compile_reorder()
    compile_scan()
