"""Getting bundles from the hub's TUF repository: downloaded and verified in a child process, taken over by the agent."""
