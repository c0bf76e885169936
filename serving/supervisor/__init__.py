"""One tritonserver process: found or unpacked, started, watched, healed, stopped."""
