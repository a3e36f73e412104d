"""The ordered transactional store: engines, transactions, and the layers on top."""
