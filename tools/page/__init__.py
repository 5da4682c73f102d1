"""The types of the page: `types/` says what the API answers and what the vendored files are."""
