"""Streams of frames: who is on them, how evidence adds up, what is worth telling. No I/O."""
