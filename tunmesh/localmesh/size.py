"""How many nodes a local mesh may have."""

FEWEST_NODES, MOST_NODES = 2, 50
