"""What runs in a project's own Python: the keeper and what scripts import. Standard library only, run by path."""
