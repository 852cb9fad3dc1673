"""What happened, as typed events; logs and exporters attach from outside."""
