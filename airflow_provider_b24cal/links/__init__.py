"""Links from a task's page to the portal."""
