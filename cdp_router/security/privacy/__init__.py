"""Privacy for keys without profile-read: withheld numbers, masked values, refused questions."""
