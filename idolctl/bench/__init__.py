"""Measure how fast the network is on this machine: operator, inference, training, beside what the device can do."""
