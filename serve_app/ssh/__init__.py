"""The SSH gateway: a process of its own that lets SSH clients into sessions."""
