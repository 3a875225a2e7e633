"""What the process says about itself: logs and metrics, each declared once."""
