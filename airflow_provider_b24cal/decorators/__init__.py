"""Decorators that turn a Python function into a task."""
