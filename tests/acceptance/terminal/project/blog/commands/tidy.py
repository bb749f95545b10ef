raise SystemExit("a command was imported that nobody asked for")
