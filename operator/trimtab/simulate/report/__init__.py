"""What simulated policies did, as pictures: one HTML file that loads nothing, and single SVGs."""
