"""Tables, figures and reports of results, for the terminal, Markdown and HTML."""
