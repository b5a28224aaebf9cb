//! The proxy between real sockets.

mod http1;
mod support;
