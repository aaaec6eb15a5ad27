"""Records as senders write them, in every encoding: checked and brought to columns."""
