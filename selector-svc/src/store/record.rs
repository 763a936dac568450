//! Events as they are written down: JSON with a version.
