"""`tunmesh mesh`: a mesh of real nodes on this machine, demonstrated. The entry point is `run`."""
