"""`kl_divergence`: closed forms, quadrature, Monte Carlo."""
