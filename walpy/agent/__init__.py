"""The resident agent: does the work of wal-push and wal-fetch with warm clients, and looks ahead."""
