"""Measures the processors, side by side with their peers."""
