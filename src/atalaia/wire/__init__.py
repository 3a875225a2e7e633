"""Bytes to readings: pure, no clock, no I/O. One bad row never spoils a body."""
