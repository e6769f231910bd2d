"""What the black-box tests share: real processes, raw sockets, scripted gateways."""
