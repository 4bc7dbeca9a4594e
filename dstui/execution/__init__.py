"""Makes one command one tracked run: snapshot, live folder, keeper, terminal, commit."""
