"""The docks of the main window: each emits what the user wants and has setters for what is so."""
