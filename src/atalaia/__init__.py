"""Atalaia: a watchtower for sensor data."""
