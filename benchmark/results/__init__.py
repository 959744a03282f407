"""The written result of a run: what a record holds, its protocol and where it is stored.

Read by the leaderboard and written by the launcher. Imports no torch.
"""
