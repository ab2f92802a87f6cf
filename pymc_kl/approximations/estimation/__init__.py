"""How families are fitted to draws: EM, numbers of components and factors, held-out scores."""
