"""The paper's tables again: every row trained, measured and written beside the paper's figures."""
