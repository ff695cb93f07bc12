"""What scripts/fuzz is made of: targets, the seeds they begin with, and what makes inputs of them."""
