"""How results are shown: in the terminal, as a page, as JSON or Markdown."""
