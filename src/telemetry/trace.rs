//! The tracing header that a message may carry, reduced to the id of the trace.

/// `Root=1-<seconds since 1970, 8 digits>-<24 digits>`, hexadecimal, if the header has one. The sender of a message
/// chooses this header, so nothing else of it may go into the log.
/// Source: <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader> (2026-11).
pub(super) fn root(header: &str) -> Option<&str> {
    header.split(';').map(str::trim).find(|part| {
        let parts: Vec<_> = part.split('-').collect();
        matches!(parts[..], ["Root=1", seconds, unique] if is_hex(seconds, 8) && is_hex(unique, 24))
    })
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_a_valid_root_is_kept() {
        const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";
        for other in [
            "Parent=53995c3f42cd8ad8;Sampled=?;Lineage=1:a87bd80c:0",
            "userId=alice@example.com",
            "alice",
            "Root=alice",
            "Root=1-5759e988",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "",
        ] {
            assert_eq!(root(other), None, "{other}");
            for header in [format!("{ROOT};{other}"), format!("{other}; {ROOT}")] {
                assert_eq!(root(&header), Some(ROOT), "{header}");
            }
        }
    }
}
