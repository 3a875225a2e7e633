"""Readings summed up over stretches of time: pure, and the same from whatever they are made of."""
