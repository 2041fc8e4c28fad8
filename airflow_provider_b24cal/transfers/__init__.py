"""Transfers of attendance into tables and files."""
