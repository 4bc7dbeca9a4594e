"""How waiting jobs get devices: the queue of a user on a machine, the plan, its reasons, the daemon, the simulator."""
