"""What each figure shows, from rows to points. Draws nothing."""
