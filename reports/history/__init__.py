"""Runs kept over time: the database (store), one run as the gate needs it (night), exchange files, and trends."""
