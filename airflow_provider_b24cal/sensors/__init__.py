"""Sensors: tasks that wait."""
