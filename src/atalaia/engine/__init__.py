"""The engine: an actor per tenant, one flusher, structured concurrency. Knows no driver."""
