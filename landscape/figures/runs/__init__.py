"""What figures are made of: result folders as runs, their names, their numbers pooled over seeds, and compared."""
