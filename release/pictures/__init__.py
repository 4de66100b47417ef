"""Pictures of figures. matplotlib is loaded here and nowhere else."""
