"""What observes and judges: what the server used, where the time went, what the cores could do, and what it means."""
