"""The embedded engine for other processes of the node: StoreActor, its wire, its client."""
