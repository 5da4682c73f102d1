"""Pictures, contact sheets and provenance: what clips and sheets are made of on disk."""
