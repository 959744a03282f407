"""Networks that were not trained here: files of other frameworks, public architectures, public checkpoints."""
