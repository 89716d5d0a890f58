//! The control API: requests and answers as plain data, and HTTP over a UNIX socket that carries them.
//!
//! [`view`] is what is answered, [`backend`] how a request reaches the control thread.

pub mod backend;
mod schema;
pub mod view;
