//! The tables: as they are, as they should be, and the SQL between the two.

mod cast;
mod column;
mod conversion;
mod difference;
mod error;
mod fix;
mod guard;
mod inspect;
mod known;
mod live;
mod null_check;
mod obstacle;
mod parent;
mod siblings;

pub use difference::{Difference, Fault};
pub use error::TableError;
pub(crate) use error::no_partition;
pub use fix::{Effect, Fix};
pub(crate) use guard::key_guard;
pub(crate) use inspect::is_index_of_key;
pub use inspect::{Inspection, Kind, PartitionGap, Permissions, TableFacts};
pub use known::{Known, KnownColumn, KnownTable};
pub use live::LiveTable;
pub use parent::{ForeignKey, ParentFacts};
pub use siblings::StrictUnique;
