"""How methods are compared: data, training loop, attacks, evaluation, records and boards."""
