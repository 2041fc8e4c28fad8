"""Reading calendars and writing attendance to tables and files."""
