"""Values that every layer shares. Knows nothing of I/O, clocks or frameworks."""
