"""Work before the sheet is final: library, views, splitting, describing, mending."""
