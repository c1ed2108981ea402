"""Passes over the calibration text: covariance of inputs, Fisher information of outputs."""
