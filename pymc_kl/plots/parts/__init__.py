"""Parts of several plots: the contract with arviz-plots, axes, captions, styles, and reading of a comparison."""
