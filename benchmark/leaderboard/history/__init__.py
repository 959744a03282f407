"""What changed on a board between two versions of it."""
