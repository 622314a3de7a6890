"""Which parts of a graph can be one box, and which of them are: from calls and repetition to the boxes of a drawing."""
