//! A simulated trainer: losses from a declared law, failures on demand, a clock that tests can turn.
