"""Pictures of results for papers and reports."""
