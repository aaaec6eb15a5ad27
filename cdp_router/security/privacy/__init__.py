"""What keys without profile-read see: withheld numbers, masked values, refused questions."""
