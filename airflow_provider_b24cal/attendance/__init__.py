"""Attendance as rows with a history, and what a reading of calendars changes in them: pure values, no I/O."""
