"""What merging tile predictions rests on: views, the evidence between them, and the cells that follow from it."""
