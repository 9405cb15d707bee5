"""HTTP: what devices speak (sealed msgpack) and what operators speak (JSON), in one app."""
