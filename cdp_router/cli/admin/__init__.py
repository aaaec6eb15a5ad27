"""Commands on access, privacy and retention."""
