"""First outlines without a network: TRAP-positive regions by colour and area, for people to correct."""
