"""The rules file: what is wrong with it, what its examples say, and how it is put in force."""
