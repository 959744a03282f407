"""The machine and the process: devices, threads, seeds, hashes of tensors, interpreters, versions."""
