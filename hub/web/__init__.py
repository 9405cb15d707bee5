"""What the operator sees: server-rendered pages that stay live by server-sent events."""
