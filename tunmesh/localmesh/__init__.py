"""`tunmesh mesh`: a mesh of real nodes on one machine, shown at work. It begins in `run`."""
