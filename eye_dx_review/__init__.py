"""The doctor's desk: work list, case page, signing, in the browser."""
