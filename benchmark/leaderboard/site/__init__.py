"""The boards as a static site that needs no server: `pages` makes all of its files from boards, tables and figures."""
