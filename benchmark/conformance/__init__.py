"""Does a method keep the contract? Its rules, and a training of a few seconds for them to inspect."""
