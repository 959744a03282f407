"""Measures an exported network: clean, PGD and AutoAttack verdicts per image, always in float32."""
