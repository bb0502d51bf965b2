"""Throughput on this machine compared with its own limit: ``fashioncnn bench``."""
