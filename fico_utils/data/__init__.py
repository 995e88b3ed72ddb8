"""Component 1 of the paper's Figure 2: corpora of pictures, captions and labels, and features of them."""
