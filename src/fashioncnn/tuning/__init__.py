"""Search the hyper-parameters of a recipe: spaces, the study in its folder, workers."""
