"""Real faces -> training batches: fakes made of them, and what happens to a picture on its way."""
