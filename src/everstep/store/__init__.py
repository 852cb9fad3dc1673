"""Everything the engine remembers: one protocol, one implementation per database."""
