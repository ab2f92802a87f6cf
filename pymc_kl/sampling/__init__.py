"""An approximation back to work: importance resampling, jumps, starting values."""
