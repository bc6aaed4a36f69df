//! The tracing header that a message may carry, reduced to its valid parts.

/// More than any service sends.
const LONGEST_LINEAGE: usize = 256;

/// The parts of a tracing header that follow its grammar, in its order; `None` if it has no root. The sender of a
/// message chooses this header, so nothing else of it may go into the log.
///
/// ```text
/// Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1;Lineage=1:a87bd80c:0
/// ```
/// Source: <https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader> (2026-11).
pub(super) fn tracing_header(header: &str) -> Option<String> {
    let pairs = header.split(';').filter_map(|part| part.split_once('='));
    let pairs: Vec<_> = pairs
        .map(|(name, value)| (name.trim(), value.trim()))
        .collect();
    let valid = |wanted: &&str| {
        pairs
            .iter()
            .find(|(name, value)| name == wanted && is_valid(name, value))
    };
    let root = valid(&"Root");
    let others = ["Parent", "Sampled", "Lineage"].iter().filter_map(valid);
    let part = |(name, value): &(&str, &str)| format!("{name}={value}");
    let kept: Vec<_> = [root?].into_iter().chain(others).map(part).collect();
    Some(kept.join(";"))
}

fn is_valid(name: &str, value: &str) -> bool {
    match name {
        "Root" => is_trace_id(value),
        "Parent" => is_hex(value, 16),
        "Sampled" => matches!(value, "0" | "1" | "?"),
        "Lineage" => value.len() <= LONGEST_LINEAGE && value.split('|').all(is_hop),
        _ => false,
    }
}

/// `1-<seconds since 1970, 8 digits>-<24 digits>`, hexadecimal.
fn is_trace_id(value: &str) -> bool {
    let parts: Vec<_> = value.split('-').collect();
    matches!(parts[..], ["1", seconds, unique] if is_hex(seconds, 8) && is_hex(unique, 24))
}

/// The iterations of a loop of functions: `<hash, 8 hexadecimal digits>:<count>`, optionally after another count.
fn is_hop(hop: &str) -> bool {
    let is_count =
        |text: &str| matches!(text.len(), 1..=5) && text.bytes().all(|byte| byte.is_ascii_digit());
    match hop.split(':').collect::<Vec<_>>()[..] {
        [first, hash, last] => is_count(first) && is_hex(hash, 8) && is_count(last),
        [hash, last] => is_hex(hash, 8) && is_count(last),
        _ => false,
    }
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "Root=1-5759e988-bd862e3fe1be46a994272793";

    #[test]
    fn a_header_as_services_write_it_is_kept() {
        for rest in [
            "",
            ";Sampled=1",
            ";Parent=53995c3f42cd8ad8;Sampled=0",
            ";Parent=53995c3f42cd8ad8;Sampled=?;Lineage=1:a87bd80c:0",
            ";Lineage=a87bd80c:1|68fd508a:5|c512fbe3:2",
        ] {
            let header = format!("{ROOT}{rest}");
            assert_eq!(tracing_header(&header), Some(header));
        }
    }

    #[test]
    fn parts_outside_the_grammar_are_left_out() {
        let others = [
            "Self=1-67891234-12456789abcdef012345678",
            "userId=alice@example.com",
            "Parent=alice@example.c",
            "Sampled=2",
            "Lineage=1:alice-01:0",
            "Lineage=",
            "alice",
            "Root=alice",
        ];
        for other in others {
            for header in [format!("{ROOT};{other}"), format!("{other}; {ROOT}")] {
                assert_eq!(tracing_header(&header).as_deref(), Some(ROOT), "{header}");
            }
        }
        let endless = format!("{ROOT};Lineage={}", ["a87bd80c:1"; 30].join("|"));
        assert_eq!(tracing_header(&endless).as_deref(), Some(ROOT));
    }

    #[test]
    fn a_header_without_a_root_is_left_out() {
        for header in [
            "",
            "Sampled=1",
            "Root=1-5759e988",
            "Root=2-5759e988-bd862e3fe1be46a994272793",
            "alice",
        ] {
            assert_eq!(tracing_header(header), None, "{header}");
        }
    }
}
