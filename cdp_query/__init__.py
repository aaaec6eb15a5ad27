"""Decision layer: a question about profiles to an exact answer over partition views."""
