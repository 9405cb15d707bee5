"""The agent's own pipeline over recorded data: what would this device have said, and when?"""
