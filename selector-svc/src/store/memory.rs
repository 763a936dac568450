//! A store that forgets with its process: for tests and simulations.
