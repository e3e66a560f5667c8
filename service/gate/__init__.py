"""What every request passes before its route, and every answer behind it."""
