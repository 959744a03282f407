"""`audit` checks everything that changes a board: records, artifacts, evaluations, challenges, checks, pages."""
