"""The calendar's methods, rows and rules."""
