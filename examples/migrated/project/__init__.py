"""Settings of the example, before and after."""
