"""What goes on while nobody waits: imports, migrations, retention, a model loaded anew."""
