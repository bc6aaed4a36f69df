//! What a client of Postgres sends, as a proxy has recorded it.

/// A message of a client: its type and its content.
/// Source: <https://www.postgresql.org/docs/18/protocol-message-formats.html>.
pub type Message<'a> = (char, &'a [u8]);

/// The messages of one connection, without the first one, which has no type.
pub fn messages(sent: &[u8]) -> Vec<Message<'_>> {
    let length = |bytes: &[u8]| u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mut rest = &sent[length(sent)..];
    let mut messages = Vec::new();
    while let [kind, after @ ..] = rest {
        let (message, next) = after.split_at(length(after));
        messages.push((char::from(*kind), &message[4..]));
        rest = next;
    }
    messages
}

/// The text of a named statement.
pub fn named_text((kind, content): Message<'_>) -> Option<String> {
    let mut parts = content.split(|byte| *byte == 0);
    let (name, text) = (parts.next()?, parts.next()?);
    (kind == 'P' && !name.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}
