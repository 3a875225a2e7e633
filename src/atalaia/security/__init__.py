"""Credentials, as values: no I/O and no clock here."""
