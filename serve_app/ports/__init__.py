"""The pages of programs that listen inside: their origins, who enters them, and the proxy to them."""
