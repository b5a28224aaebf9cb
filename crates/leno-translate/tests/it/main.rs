//! What proxies are told, by its meaning: messages are decoded and asked where a call would go.

mod answers;
mod cluster;
mod endpoint;
mod envoy;
mod listener;
mod mesh;
mod name_table;
mod route;
