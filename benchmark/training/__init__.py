"""The one training loop, its objectives and its checkpoints, independent of any concrete method."""
