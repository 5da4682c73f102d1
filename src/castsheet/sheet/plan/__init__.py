"""Where panels go. Numbers only: no picture is opened here."""
