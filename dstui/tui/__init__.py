"""The full-screen dashboard. `start.py` is its door; it imports the rest only after the environment is set."""
