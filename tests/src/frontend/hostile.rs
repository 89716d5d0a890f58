//! Hostile front-ends.
