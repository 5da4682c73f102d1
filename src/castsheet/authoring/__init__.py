"""What an author does before the sheet stands: library, views, splitting, describing, mending."""
