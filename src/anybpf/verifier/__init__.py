"""The verifier: proves programs safe, explains what it refuses."""
