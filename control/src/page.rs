//! A page for the browser of whoever sits at this host: the host drawn with its guests, live.
//!
//! The browser asks for one [`Picture`] a second, everything at one time in the API's own words, and makes of
//! two of them what a rate is and of many a plot: here nothing is remembered. Its files (`page/assets`) are
//! in the program as they are, and what they show was never markup: names become text.
//!
//! Any page of the web can make the operator's browser send requests to loopback, so `origin` answers
//! only those that are of this page, and what is here can only be read.

mod assets;
mod origin;
mod picture;
mod server;

pub use picture::Picture;
pub use server::{bind, start};
