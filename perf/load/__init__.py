"""What generates load: which requests are due when, the pictures they carry, and the process that sends them."""
