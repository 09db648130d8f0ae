"""Who wants packets of which multicast group: the programs on this machine, and other nodes."""
