"""Byte formats that more than one row needs.  Pure functions on bytes; imports nothing of the project but `errors`."""
