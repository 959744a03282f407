"""The machine and the process: devices, threads, seeds, tensor hashes, interpreters, versions."""
