"""What bench/simulate consists of: what is run, the rows that come of it, and the tables."""
