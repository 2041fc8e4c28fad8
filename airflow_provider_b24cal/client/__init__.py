"""Carrying bytes: two transports and the drivers that run an exchange over them."""
