"""Rows on the Hugging Face Hub: push one with its card, pull one and check it. Needs the extra `hub`."""
