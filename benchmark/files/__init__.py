"""Safe reading and writing of files, untrusted text, and the project's own folders."""
