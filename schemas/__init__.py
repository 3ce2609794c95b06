"""What travels on each topic: pydantic models, the topic catalogue, and the one codec.

Everything else imports from here; this package imports nothing of ours.
"""
