"""The benchmark: two nodes in namespaces on one machine, beside what else does the same work.

See docs/performance.md for the method and for what came out.
"""
