//! The table, by subject. A line end is written out, so that what is sent can be read.

mod body;
mod connection;
mod header;
mod limits;
mod request;
mod response;
mod response_body;
mod upgrade;

use super::case::Subject;

pub(crate) fn all() -> Vec<Subject> {
    [
        request::subjects(),
        header::subjects(),
        body::subjects(),
        limits::subjects(),
        connection::subjects(),
        upgrade::subjects(),
        response::subjects(),
        response_body::subjects(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
