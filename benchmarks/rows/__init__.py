"""The rows of the targets table: what each of them measures, and how."""
