"""Does a method keep the contract? Rules, and a trial of seconds for them to look at."""
