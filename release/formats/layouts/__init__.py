"""How a checkpoint stores fp8 weights: plain, or beside scales, and which ones."""
