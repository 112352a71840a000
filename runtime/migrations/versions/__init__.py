"""One file per step of the store's schema; what a released version has made is never edited again."""
