//! Raw names.
