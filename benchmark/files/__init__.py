"""Files and the text in them: what may be read, how it is written, and where the project keeps its own."""
