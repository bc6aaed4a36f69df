//! The texts of log lines that other programs look for: the tool, `make logs`, the queries of the runbook and of the
//! dashboard. Whoever reads the log from Rust uses these constants.

/// The result of a batch.
pub const BATCH: &str = "batch";

/// Why nothing of a batch is acknowledged.
pub const BATCH_FAILED: &str = "batch failed";

/// Why one message was not stored.
pub const MESSAGE_FAILED: &str = "message failed";

/// Why several messages were not stored, for a person who reads the log live.
pub const MESSAGES_FAILED: &str = "messages failed";

/// How many failed messages of a rule have no line of their own.
pub const MORE_MESSAGES_FAILED: &str = "more messages failed";

/// An attempt failed, and another one follows.
pub const RETRYING: &str = "retrying";

/// The mapping is valid, and the program starts.
pub const MAPPING_READ: &str = "mapping read";

/// The field of the line [`MAPPING_READ`] that identifies the mapping; `check --function` compares it.
pub const MAPPING_DIGEST: &str = "mapping_digest";

/// A program ends before its first batch.
pub const CANNOT_START: &str = "cannot start";

/// A program ends because it has lost the Lambda Runtime API.
pub const CANNOT_CONTINUE: &str = "cannot continue";

/// The attribute `origin` of some messages does not count.
pub const ORIGIN_IGNORED: &str =
    "origin ignored: the message keeps the id and time that SQS gave it";

/// A bug.
pub const PANIC: &str = "panic: please report this location";

/// The mask secret cannot be read again.
pub const MASK_KEYS_NOT_REFRESHED: &str =
    "cannot refresh the mask keys: continuing with the current ones";
