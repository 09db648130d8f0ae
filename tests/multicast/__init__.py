"""Tests of tunmesh.multicast."""
