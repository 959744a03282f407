"""The one training loop, the attacks and objectives it uses, and its checkpoints. Knows no concrete method."""
