"""Where trainings run: in worker processes, or inside a user's own script."""
