"""Bodies of requests and answers, as OpenAPI describes them. Times are seconds since the Unix epoch."""
