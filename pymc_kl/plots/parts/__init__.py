"""What the plots share: the contract with arviz-plots, axes, captions, styles, and what they read of a comparison."""
