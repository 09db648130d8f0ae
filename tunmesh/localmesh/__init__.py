"""`tunmesh mesh`: a mesh of real nodes on one machine, shown at work. It begins in `run`."""

FEWEST_NODES, MOST_NODES = 2, 50
