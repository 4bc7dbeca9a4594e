"""GPUs and the load of the machine: read by one process per user and machine, written to files that all may follow."""
