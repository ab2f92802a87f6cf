"""Forward-KL fits to draws and reverse-KL fits to the model."""
