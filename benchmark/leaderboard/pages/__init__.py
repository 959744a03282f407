"""One writer per format. What a column is called and says is decided in columns.py."""
