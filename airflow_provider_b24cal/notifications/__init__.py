"""Notifiers for callbacks of tasks and runs."""
