"""The posterior mode by mode: local draws, bridge sampling, and draws of the whole."""
