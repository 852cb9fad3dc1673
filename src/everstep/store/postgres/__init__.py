"""The store on PostgreSQL, which many workers share. Loaded only when a database URL asks for it."""
