"""HTTP itself: middleware, methods, origins, problem documents, pages."""
