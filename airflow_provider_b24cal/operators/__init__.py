"""Operators: one task, one deed."""
