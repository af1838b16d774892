"""Starts bqemulator without DuckDB's spatial extension, which it fetches from the network."""

import sys

from bqemulator.cli import main
from bqemulator.storage.engine import DuckDBEngine

DuckDBEngine._load_spatial = lambda self: None
sys.argv = ["bqemulator", "start", "--rest-port", "0", "--grpc-port", "0", "--log-format", "json"]
main()
