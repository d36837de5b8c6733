"""SQL stores: chain state, platform store (Table 10-3) and the view that the API answers from."""
