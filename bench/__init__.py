"""The benchmark: two nodes in namespaces on one machine, compared with other VPNs.

See docs/performance.md for the method and the results.
"""
