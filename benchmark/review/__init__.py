"""What a reader does with results: evaluate a file, join shards, reproduce a row, challenge it."""
