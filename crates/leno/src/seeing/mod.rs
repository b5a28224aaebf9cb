//! What `leno stat`, `edges`, `top`, `tap` and the demo have in common: what traffic adds up to, whom a name means, how
//! figures are written. Pure: it is told what it is about.

pub mod show;
pub mod sums;
pub mod target;
