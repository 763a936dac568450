//! finepick-conformance: proves a trainer plugin against the contract.
