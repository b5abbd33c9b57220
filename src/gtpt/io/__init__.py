"""Pictures in, results and videos out."""
