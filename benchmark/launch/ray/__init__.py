"""What the Ray engine is made of: the cluster that it uses, and what runs on its nodes."""
