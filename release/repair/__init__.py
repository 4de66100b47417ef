"""Repair: a damaged file made whole again, with only what is damaged fetched anew."""
