"""`submit` writes one folder per result; `verify` decides, without running anything in it, whether it may be merged."""
