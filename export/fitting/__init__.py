"""A served version -> the constants that are fitted to it afterwards: CLIP beside it, decisions about video."""
