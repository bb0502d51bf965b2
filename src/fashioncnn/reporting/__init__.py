"""Show what was measured: tables, figures, one page."""
