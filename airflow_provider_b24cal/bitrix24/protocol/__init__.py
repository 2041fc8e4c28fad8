"""The exchange with a portal: requests, replies, batches, limits and errors."""
