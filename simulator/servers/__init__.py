"""Simulated servers that speak the real protocols on loopback: BBS, Locket and the SQL database behind them."""
