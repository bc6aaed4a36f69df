//! What only the tool does with a queue: it sends, and keeps what it received in flight.

pub(crate) mod in_flight;
pub(crate) mod send;
