"""Workloads, goals and reports over `compare.timing`, which measures."""
