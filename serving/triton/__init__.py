"""Models of the Python backend of Triton. Each `model.py` of the model repository imports one of them."""
