//! The results in the format of JUnit, which CI systems read: a suite for each mapping, a case for each of its tables.
//! Source: <https://github.com/testmoapp/junitxml> (2026-11).

use super::Tested;
use crate::cli::output::escaped;

pub(super) fn report(all: &[Tested]) -> String {
    let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for tested in all {
        let name = quoted(&tested.mapping);
        let failed = tested
            .sections
            .iter()
            .filter(|section| !section.differences.is_empty());
        xml += &format!(
            "  <testsuite name={name} tests=\"{}\" failures=\"{}\">\n",
            tested.sections.len(),
            failed.count()
        );
        for section in &tested.sections {
            let case = format!(
                "    <testcase classname={name} name={}",
                quoted(&section.title)
            );
            if section.differences.is_empty() {
                xml += &format!("{case}/>\n");
                continue;
            }
            let lines: Vec<_> = section.differences.iter().map(|line| text(line)).collect();
            xml += &format!(
                "{case}>\n      <failure message=\"other rows than expected\">{}</failure>\n    </testcase>\n",
                lines.join("\n")
            );
        }
        xml += "  </testsuite>\n";
    }
    xml + "</testsuites>\n"
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", text(value).replace('"', "&quot;"))
}

/// XML allows no control characters, not even as references.
fn text(text: &str) -> String {
    let text = escaped(text).replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
