"""Settings: read once at the start; everything but rules needs a restart to change."""
