"""The formats: each is one function, `render`, from what Client.dump() yields, the time of the dump and what
Client.info() says, to pieces of text. Not every format has a place for all that. None does I/O."""
