"""The HTTP face: it parses, asks a port or the gate, and renders. It keeps no state but a cache
of credentials."""
