"""`tunmesh simulate`: hundreds of nodes on one fake clock and one source of randomness."""
