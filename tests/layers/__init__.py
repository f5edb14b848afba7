"""The layers against PyTorch, closed forms and the lecture."""
