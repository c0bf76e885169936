"""What reports share: how figures are judged, drawn and tabulated, and what they were made on."""
