"""Records as senders write them, in every encoding: checked and converted to columns."""
