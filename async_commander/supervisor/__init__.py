"""Bots and schedules: when something is due, and who is started again."""
