"""HTTP and WebSocket ingress: routes, sockets, authentication, pages."""
