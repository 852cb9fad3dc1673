"""What can be asked of instances from outside: the one service behind bindings, HTTP and the command line."""
