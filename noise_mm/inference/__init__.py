"""Well images -> outlines: tiles run through a network and merged to whole cells."""
