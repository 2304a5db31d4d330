"""Around any paid teacher: actions bought once and kept, budgets, limits, retries, a ledger."""
