"""Ways to start jobs: on this machine, as printed commands, and on clusters. One file each, imported when chosen."""
