"""The formats: each is one function, `render`, from what Client.dump() yields to pieces of text. None does I/O."""
