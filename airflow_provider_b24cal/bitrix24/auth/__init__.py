"""Credentials, OAuth and the renewal of tokens."""
