"""Pictures, contact sheets, report pages and provenance: what is read and written beside video."""
