"""Messages between nodes: a websocket a peer, the frames in it, and the address book of whom to dial."""
