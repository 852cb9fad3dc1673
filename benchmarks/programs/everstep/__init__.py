"""The works done by Everstep, through its public API and with its defaults."""
