"""The portal's language: what is asked, what comes back, and what it means.

Everything below is pure. No module here opens a socket, reads a clock, draws a random number, writes a
log line or knows Airflow; ``tests/contract/test_architecture.py`` keeps it so.
"""
