"""Programs that outlive the call that started them: by name, their output kept as a terminal's."""
